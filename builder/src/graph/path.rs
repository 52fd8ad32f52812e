//! Paths inside the image: text only, nothing is looked up.

/// `path` seen from `cwd`, without `.`, `..` and doubled slashes; always absolute.
pub(super) fn join(cwd: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("{cwd}/{path}")) }
}

/// Absolute, without `.`, `..` and doubled slashes; `..` stops at the root.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether the text says by itself that it is a directory.
pub(super) fn names_directory(path: &str) -> bool {
    path == "." || path.ends_with('/') || path.ends_with("/.") || path == ".." || path.ends_with("/..")
}
