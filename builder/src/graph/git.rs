//! Addresses among the sources of ADD, and those of repositories anywhere.

use crate::registry::decoded;

/// A repository as an address names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAddress {
    /// Where to clone from.
    pub remote: String,
    /// Branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// The directory that is wanted; empty for all.
    pub subdir: String,
    /// The commit that it must be, or its beginning.
    pub checksum: Option<String>,
    /// Whether `.git` stays, where the address says it.
    pub keep_git_dir: Option<bool>,
    /// Whether its submodules are fetched too.
    pub submodules: bool,
}

/// What may stand after `?`.
const WORDS: &str =
    "it may be ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules or fetch-by-commit";

pub(super) fn is_download(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// What a download is called: the last part of its address, whatever the server says of it; `None` where that is no name of a file.
#[must_use]
pub fn file_name(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split(['?', '#']).next()?.split_once('/')?;
    let path = decoded(path);
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    let is_plain = !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains('\0');
    is_plain.then(|| name.to_owned())
}

/// `https://host/path.git#reference:subdir`, `git://`, `ssh://`, `git@host:path`; those with a scheme also `?tag=NAME&subdir=PATH` and so
/// on, as BuildKit has them.
///
/// # Errors
/// What is wrong with the words after `?`.
pub fn repository(text: &str) -> Result<Option<GitAddress>, String> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = match address.split_once('?') {
        Some((remote, query)) if remote.contains("://") => (remote, query),
        _ => (address, ""),
    };
    let is_http = remote.starts_with("http://") || remote.starts_with("https://");
    let known = (is_http && remote.ends_with(".git"))
        || remote.starts_with("git://")
        || remote.starts_with("ssh://")
        || is_scp(remote);
    if !known {
        return Ok(None);
    }
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut found = GitAddress {
        remote: remote.to_owned(),
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        checksum: None,
        keep_git_dir: None,
        submodules: true,
    };
    found.read(query)?;
    Ok(Some(found))
}

impl GitAddress {
    fn read(&mut self, query: &str) -> Result<(), String> {
        let mut is_by_commit = false;
        for word in query.split('&').filter(|word| !word.is_empty()) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let value = decoded(value);
            let switch = || match value.as_str() {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(format!("{key} is true or false, not {value}")),
            };
            match key {
                "keep-git-dir" => self.keep_git_dir = Some(switch()?),
                "submodules" => self.submodules = switch()?,
                "fetch-by-commit" => is_by_commit = switch()?,
                "mtime" if value == "checkout" => {}
                _ if value.is_empty() => return Err(format!("{key} has no value")),
                "ref" => set(&mut self.reference, value, key)?,
                "tag" => set(&mut self.reference, below("refs/tags/", &value), key)?,
                "branch" => set(&mut self.reference, below("refs/heads/", &value), key)?,
                "subdir" => set(&mut self.subdir, value, key)?,
                "checksum" | "commit" => self.checksum = Some(value),
                _ => return Err(format!("{word} is not supported ({WORDS})")),
            }
        }
        match &self.checksum {
            Some(commit) if is_by_commit && matches!(commit.len(), 40 | 64) => {
                self.reference.clone_from(commit);
                Ok(())
            }
            _ if is_by_commit => Err("fetch-by-commit needs commit= with all of its digits".to_owned()),
            _ => Ok(()),
        }
    }
}

/// What the address says twice must be the same.
fn set(field: &mut String, value: String, key: &str) -> Result<(), String> {
    if !field.is_empty() && *field != value {
        return Err(format!("{key} is {value} and {field}"));
    }
    *field = value;
    Ok(())
}

fn below(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, rest)| {
        let plain = |s: &str| !s.is_empty() && !s.contains(['/', ':']);
        plain(user) && rest.split_once(':').is_some_and(|(host, path)| plain(host) && !path.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(reference: &str, subdir: &str) -> GitAddress {
        GitAddress {
            remote: "https://h/r.git".to_owned(),
            reference: reference.to_owned(),
            subdir: subdir.to_owned(),
            checksum: None,
            keep_git_dir: None,
            submodules: true,
        }
    }

    #[test]
    fn a_download_has_a_plain_name() {
        for (url, expected) in [
            ("http://h/a/b.tar.gz?x=/1#/2", Some("b.tar.gz")),
            ("HTTPS://h/a%20b%2", Some("a b%2")),
            ("http://h/a/b/", Some("b")),
            ("http://h/a%2fb", Some("b")),
            ("http://h/", None),
            ("http://h", None),
            ("http://h?a/b", None),
            ("http://h/a/..", None),
            ("http://h/a/%2E%2e", None),
            ("http://h/a%00", None),
        ] {
            assert_eq!(file_name(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn words_after_a_question_mark_say_what_a_fragment_says_and_more() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let by_commit = format!("https://h/r.git?ref=main&fetch-by-commit=true&commit={commit}");
        for (text, expected) in [
            ("https://h/r.git#v1:a/b", address("v1", "a/b")),
            ("https://h/r.git?tag=v1&subdir=a%2Fb", address("refs/tags/v1", "a/b")),
            ("https://h/r.git?branch=main", address("refs/heads/main", "")),
            ("https://h/r.git?ref=v1#v1", address("v1", "")),
            (
                "https://h/r.git?keep-git-dir&submodules=false&checksum=012",
                GitAddress {
                    keep_git_dir: Some(true),
                    submodules: false,
                    checksum: Some("012".to_owned()),
                    ..address("", "")
                },
            ),
            (by_commit.as_str(), GitAddress { checksum: Some(commit.to_owned()), ..address(commit, "") }),
        ] {
            assert_eq!(repository(text), Ok(Some(expected)), "{text}");
        }
        assert_eq!(repository("https://h/file?tag=v1"), Ok(None));
        for (text, expected) in [
            ("https://h/r.git?tag=v1#v2", "tag is refs/tags/v1 and v2"),
            ("https://h/r.git?tag=", "tag has no value"),
            ("https://h/r.git?submodules=maybe", "submodules is true or false, not maybe"),
            (
                "https://h/r.git?commit=01&fetch-by-commit",
                "fetch-by-commit needs commit= with all of its digits",
            ),
            (
                "https://h/r.git?mtime=commit",
                "mtime=commit is not supported (it may be ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules or fetch-by-commit)",
            ),
        ] {
            assert_eq!(repository(text), Err(expected.to_owned()), "{text}");
        }
    }
}
