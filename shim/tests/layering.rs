//! The rules of the house, read from the sources: which room may name which, how long a file may be, where `unsafe` is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Room -> the rooms it may name. This is the picture of the architecture.
const ROOMS: [(&str, &[&str]); 18] = [
    ("main", &["bootstrap", "cli", "error", "sys", "task"]),
    (
        "bootstrap",
        &["cgroup", "cli", "error", "events", "log", "mounts", "options", "runtime", "spec", "sys", "task"],
    ),
    (
        "task",
        &[
            "cgroup", "error", "events", "log", "mounts", "oom", "options", "process", "reap", "rpc",
            "runtime", "source", "spec", "stdio", "sys",
        ],
    ),
    ("process", &["error"]),
    ("runtime", &["error", "options", "sys"]),
    ("stdio", &["error", "log", "process", "source", "sys"]),
    ("reap", &["sys"]),
    ("events", &["log", "rpc", "sys"]),
    ("rpc", &["error", "sys"]),
    ("oom", &["cgroup", "error", "sys"]),
    ("cgroup", &["error"]),
    ("mounts", &["error", "sys"]),
    ("options", &["error"]),
    ("spec", &["error"]),
    ("cli", &["error"]),
    ("source", &[]),
    ("log", &[]),
    ("error", &[]),
];

/// Everything may name `error`'s and `sys`'s neighbours, but these two name nobody.
const BOTTOM: &str = "sys";

/// What a file that only decides may not name.
const DEEDS: [&str; 7] =
    ["std::fs", "std::env", "std::io::", "std::process::Command", "nix::unistd", "crate::sys", "libc::"];
const PURE: [&str; 7] = [
    "process/mod.rs",
    "runtime/argv.rs",
    "bootstrap/params.rs",
    "stdio/target.rs",
    "options/toml.rs",
    "task/call.rs",
    "source.rs",
];

const LONGEST: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut dirs = vec![top.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&top).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn room(file: &Path) -> String {
    file.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The source without its unit tests, which may look anywhere.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

fn named(text: &str) -> BTreeSet<&str> {
    let after = text.split("crate::").skip(1);
    after.map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap()).collect()
}

#[test]
fn rooms_name_only_what_lies_below() {
    for (file, text) in sources() {
        let room = room(&file);
        if room == BOTTOM {
            assert_eq!(named(product(&text)), BTreeSet::new(), "{}", file.display());
            continue;
        }
        let (_, allowed) =
            ROOMS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("no room {room}"));
        for other in named(product(&text)) {
            assert!(
                other == room || allowed.contains(&other),
                "{} names {other}, which {room} may not",
                file.display()
            );
        }
    }
}

#[test]
fn what_decides_does_not_act() {
    for (file, text) in sources() {
        if PURE.iter().any(|pure| Path::new(pure) == file) {
            for deed in DEEDS {
                assert!(!product(&text).contains(deed), "{} names {deed}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_lives_in_sys_and_files_are_short() {
    for (file, text) in sources() {
        assert!(text.lines().count() <= LONGEST, "{} is longer than {LONGEST} lines", file.display());
        let has_unsafe = text.contains("unsafe {") || text.contains("unsafe fn");
        assert!(!has_unsafe || room(&file) == BOTTOM, "{} is unsafe", file.display());
        if file.ends_with("mod.rs") {
            assert!(text.contains("//! Invariant: "), "{} states no invariant", file.display());
        }
    }
}

#[test]
fn the_package_depends_on_no_other_of_the_workspace() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    assert!(!dependencies.contains("path ="), "{dependencies}");
}
