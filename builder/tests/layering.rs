//! The rules of the house, read from the sources: which room may name which, what decides and does not act,
//! and how long a file may be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room -> the rooms that it may name. This is the picture of the architecture.
const ROOMS: [(&str, &[&str]); 18] = [
    (
        "cli",
        &[
            "attest",
            "bundle",
            "context",
            "diff",
            "dockerfile",
            "error",
            "graph",
            "image",
            "layer",
            "progress",
            "registry",
            "snapshot",
            "solve",
            "step",
            "store",
            "sys",
        ],
    ),
    ("attest", &["error", "graph", "image", "registry", "store"]),
    ("dockerfile", &["error"]),
    ("graph", &["dockerfile", "error", "image", "registry", "store"]),
    (
        "solve",
        &[
            "bundle",
            "context",
            "diff",
            "dockerfile",
            "error",
            "graph",
            "image",
            "layer",
            "progress",
            "snapshot",
            "step",
            "store",
            "sys",
        ],
    ),
    (
        "step",
        &[
            "bundle",
            "context",
            "dockerfile",
            "error",
            "graph",
            "layer",
            "progress",
            "snapshot",
            "store",
            "sys",
        ],
    ),
    ("context", &["dockerfile", "error", "registry", "snapshot", "store", "sys"]),
    ("bundle", &["error", "sys"]),
    ("snapshot", &["error", "layer", "progress", "store", "sys"]),
    ("diff", &["error", "layer", "sys"]),
    ("image", &["error", "layer", "progress", "registry", "store", "sys"]),
    ("layer", &["error", "store", "sys"]),
    ("registry", &["error", "progress", "store"]),
    ("store", &["error", "sys"]),
    ("progress", &["error"]),
    ("sys", &["error"]),
    ("error", &[]),
    ("lib", &[]),
];

/// Rooms that turn a value into a value and touch nothing else.
const PURE: [&str; 2] = ["dockerfile", "graph"];

/// What a pure room may not name.
const WORLD: [&str; 9] = [
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::time",
    "SystemTime",
    "nix::",
    "libc::",
    "std::io::std",
];

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        let may = allowed.get(room.as_str()).unwrap_or_else(|| panic!("room {room} is not in the table"));
        for named in names(&text) {
            if named != room && !may.contains(&named.as_str()) {
                wrong.push(format!("{} names {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_room_can_be_reached_from_itself() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into();
    for room in allowed.keys() {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = allowed[room].to_vec();
        while let Some(below) = next.pop() {
            assert_ne!(below, *room, "{room} is above and below itself");
            if seen.insert(below) {
                next.extend(allowed[below]);
            }
        }
    }
}

#[test]
fn what_decides_touches_nothing() {
    for (path, text) in sources() {
        if PURE.contains(&room(&path).as_str()) {
            for word in WORLD {
                assert!(!text.contains(word), "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_sys() {
    for (path, text) in sources() {
        assert!(room(&path) == "sys" || !text.contains("allow(unsafe_code"), "{}", path.display());
    }
}

#[test]
fn files_are_short_and_rooms_say_what_holds() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 400, "{} has {lines} lines", path.display());
        let is_room = path.ends_with("mod.rs") && path.components().count() == 2;
        assert!(!is_room || text.contains("Invariant:"), "{} names no invariant", path.display());
    }
}

/// Every source file, its path below `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_path_buf(), text));
            }
        }
    }
    found
}

/// The first part of the path; `main.rs` and `lib.rs` only tie the rooms together.
fn room(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy();
    match first.trim_end_matches(".rs") {
        "main" => "lib".to_owned(),
        room => room.to_owned(),
    }
}

/// The rooms after `crate::`, in comments too: a link is a tie as well.
fn names(text: &str) -> BTreeSet<String> {
    let after = text.split("crate::").skip(1);
    let word =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    after
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => {
                list.split('}').next().unwrap_or_default().split(',').map(|part| word(part.trim())).collect()
            }
            None => vec![word(rest)],
        })
        .filter(|name| !name.is_empty())
        .collect()
}
