//! The six rules of the house, checked over the whole workspace: packages that do not depend on each other, rooms with a table of
//! layers, unsafe code in `sys/` alone, no name service, files of one noun.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: [&str; 4] = ["builder", "conformance", "runtime", "shim"];

/// Lines that a source file may have.
const CEILING: usize = 400;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

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

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for package in PACKAGES {
        sources(&top().join(package).join("src"), &mut found);
    }
    found.sort();
    found
}

#[test]
fn no_package_depends_on_a_path() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(top())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut names: Vec<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, PACKAGES);
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            assert!(
                dependency["path"].is_null(),
                "{} depends on the path of {}",
                package["name"],
                dependency["name"]
            );
        }
    }
}

#[test]
fn the_top_level_holds_the_packages_and_nothing_else() {
    let output = Command::new("git").args(["ls-files"]).current_dir(top()).output();
    let Ok(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<&str> =
        text.lines().filter_map(|l| l.split('/').next()).filter(|n| !n.starts_with('.')).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return; // not a checkout
    }
    let allowed = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "builder",
        "conformance",
        "runtime",
        "shim",
    ];
    let strange: Vec<_> = names.iter().filter(|n| !allowed.contains(n)).collect();
    assert!(strange.is_empty(), "at the top level: {strange:?}");
}

#[test]
fn every_package_says_what_it_is() {
    let mut wrong = Vec::new();
    for package in PACKAGES {
        for file in ["README.md", "ARCHITECTURE.md", "tests/layering.rs"] {
            let text = std::fs::read_to_string(top().join(package).join(file)).unwrap_or_default();
            if text.is_empty() {
                wrong.push(format!("{package}/{file} is missing"));
            } else if file == "ARCHITECTURE.md" && text.lines().count() > 200 {
                wrong.push(format!("{package}/{file} has more than 200 lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_the_ceiling() {
    let long: Vec<String> = all_sources()
        .iter()
        .map(|path| (path, std::fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(path, lines)| *lines > CEILING && !is_table(path))
        .map(|(path, lines)| format!("{} {lines}", path.display()))
        .collect();
    assert!(long.is_empty(), "more than {CEILING} lines:\n{}", long.join("\n"));
}

/// Generated tables of numbers are not read from top to bottom.
fn is_table(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tables_"))
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    for path in all_sources() {
        let in_sys = path.components().any(|part| part.as_os_str() == "sys");
        let text = std::fs::read_to_string(&path).unwrap();
        let used = text.lines().any(|line| {
            let line = line.trim_start();
            !line.starts_with("//")
                && (line.contains("unsafe {")
                    || line.contains("unsafe fn")
                    || line.contains("allow(unsafe_code"))
        });
        assert!(in_sys || !used, "unsafe code in {}", path.display());
    }
}

/// Linked statically, libc's look-up of users loads what nsswitch.conf names, built for another libc, and crashes in it.
#[test]
fn nobody_asks_the_name_service() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for call in ["User::from_", "Group::from_", "getpwuid", "getpwnam", "getgrgid", "getgrnam"] {
            assert!(!text.contains(call), "{call} in {}", path.display());
        }
    }
}

#[test]
fn every_room_begins_with_what_it_is_and_an_invariant() {
    let mut wrong = Vec::new();
    for path in all_sources().iter().filter(|p| p.file_name().is_some_and(|n| n == "mod.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        let head: String =
            text.lines().take_while(|line| line.starts_with("//!") || line.starts_with("#!")).collect();
        if !head.starts_with("//! ") || !head.contains("Invariant:") {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "no invariant is named in:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_postponed_in_the_sources() {
    for path in all_sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["todo!", "unimplemented!", "FIXME", concat!("XX", "X")] {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
}
