//! The rules of the house, read from the sources: which room may name which, and that planning touches nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Room -> the rooms that it may name. This is the picture of the architecture.
const ROOMS: [(&str, &[&str]); 9] = [
    ("cli", &["bundle", "error", "host", "plan", "state", "sys", "wire"]),
    ("bundle", &["error"]),
    ("plan", &["error"]),
    ("host", &["error", "init", "plan", "state", "sys", "wire"]),
    ("wire", &["error", "sys"]),
    ("init", &["error", "plan", "sys", "wire"]),
    ("state", &["error"]),
    ("sys", &[]),
    ("error", &[]),
];

/// What a room that only decides must not name: whatever reads or changes the world.
const WORLD: [&str; 10] = [
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "nix::",
    "std::io",
    "libc::syscall",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The room's files: a directory, or one file.
fn room(name: &str) -> Vec<PathBuf> {
    let single = source().join(format!("{name}.rs"));
    if single.exists() {
        return vec![single];
    }
    let mut found = Vec::new();
    files(&source().join(name), &mut found);
    found
}

/// The rooms that a source names, after `crate::`, singly or in braces; tests at its end are not the room.
fn named(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap();
    let mut names = BTreeSet::new();
    for part in text.split("crate::").skip(1) {
        let word = |text: &str| {
            text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
        };
        match part.strip_prefix('{') {
            Some(list) => {
                let list = list.split(';').next().unwrap();
                let mut depth = 0;
                for piece in list.split_inclusive(['{', '}', ',']) {
                    if depth == 0 {
                        names.insert(word(piece.trim()));
                    }
                    depth += i32::from(piece.ends_with('{')) - i32::from(piece.ends_with('}'));
                }
            }
            None => _ = names.insert(word(part)),
        }
    }
    names.remove("");
    names
}

#[test]
fn data_flows_down_the_rooms_and_never_up() {
    let mut wrong = Vec::new();
    for (name, may) in ROOMS {
        for file in room(name) {
            let text = std::fs::read_to_string(&file).unwrap();
            let beyond =
                named(&text).into_iter().filter(|other| other != name && !may.contains(&other.as_str()));
            wrong.extend(beyond.map(|other| format!("{} names {other}", file.display())));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_room_is_in_the_table() {
    let mut rooms = BTreeSet::new();
    for entry in std::fs::read_dir(source()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        rooms.insert(name);
    }
    let table: BTreeSet<String> = ROOMS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let doors = ["lib", "main"].map(str::to_owned);
    assert_eq!(rooms, table.into_iter().chain(doors).collect());
}

#[test]
fn planning_touches_nothing() {
    let mut wrong = Vec::new();
    for file in room("plan") {
        let text = std::fs::read_to_string(&file).unwrap().replace("unix::", "");
        let found = WORLD.iter().filter(|word| text.contains(*word));
        wrong.extend(found.map(|word| format!("{} names {word}", file.display())));
    }
    assert_eq!(wrong, Vec::<String>::new());
}
