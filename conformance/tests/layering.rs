//! The architecture of this package as a table: a room may name the rooms of its row and no others.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

/// Room, and the rooms that it may name; itself always.
const TABLE: [(&str, &[&str]); 32] = [
    ("sys", &[]),
    ("account", &[]),
    ("process", &["sys"]),
    ("needs", &["account", "process"]),
    ("subject", &["needs", "process"]),
    ("bundle", &[]),
    ("case", &["bundle", "needs", "process", "subject"]),
    ("image", &["bundle", "process"]),
    ("assets", &["case", "image", "process"]),
    ("build", &[]),
    ("cases", &["account", "bundle", "case", "image", "needs", "process", "subject", "sys", "worker"]),
    (
        "chain",
        &[
            "account", "assets", "build", "bundle", "case", "engines", "image", "needs", "process", "sys",
            "worker",
        ],
    ),
    ("engines", &["case", "image", "needs", "process", "subject", "worker"]),
    ("worker", &["case", "needs", "process", "subject"]),
    ("suite", &["case", "process", "subject", "worker"]),
    ("report", &["case", "suite"]),
    ("known", &["case", "needs", "subject", "suite"]),
    ("runc_suite", &["account", "case", "known", "needs", "process", "report"]),
    ("without", &["sys"]),
    ("trial", &["case", "needs", "subject"]),
    ("setup", &["account", "assets", "process"]),
    ("shims", &["build", "case", "chain", "needs", "process", "subject", "worker"]),
    ("stage", &["assets", "build", "setup"]),
    ("cargo_test", &["build", "process", "report"]),
    ("as_user", &["account", "process"]),
    ("compare", &["build", "case", "cases", "engines", "needs", "report", "subject", "suite", "trial"]),
    ("compat", &["engines"]),
    ("demo", &["build", "needs", "process"]),
    ("builders", &["build", "differential", "process"]),
    ("differential", &["assets", "build", "case", "image", "process", "report"]),
    ("bench", &["account", "assets", "build", "bundle", "needs", "subject", "sys", "trial"]),
    (
        "proof",
        &[
            "as_user",
            "build",
            "cargo_test",
            "case",
            "cases",
            "chain",
            "engines",
            "known",
            "needs",
            "process",
            "report",
            "setup",
            "subject",
            "suite",
            "trial",
        ],
    ),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The room of a file: the first part of its path below `src/`.
fn room(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The rooms that a text names through `crate::`.
fn named(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(str::trim_start).filter(|l| !l.starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for part in code.split("crate::").skip(1) {
        let list = part.strip_prefix('{').map_or_else(
            || part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned(),
            |braced| braced.split('}').next().unwrap_or_default().to_owned(),
        );
        found.extend(list.split(',').map(|n| n.trim().split("::").next().unwrap_or_default().to_owned()));
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

#[test]
fn rooms_name_only_the_rooms_of_their_row() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    // What main.rs itself offers to all rooms.
    let of_main = ["find_case", "work_root", "workers"];
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let room = room(inside);
        if room == "main" || room == "bin" {
            continue;
        }
        let row = TABLE.iter().find(|(name, _)| *name == room);
        let Some((_, allowed)) = row else {
            wrong.push(format!("{} belongs to no room of the table", inside.display()));
            continue;
        };
        for name in named(&std::fs::read_to_string(&file).unwrap()) {
            if name != room && !allowed.contains(&name.as_str()) && !of_main.contains(&name.as_str()) {
                wrong.push(format!("{} names {name}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
