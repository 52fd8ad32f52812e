//! How many crates stand behind the program: each is somebody whom its users have to trust.

use std::collections::BTreeSet;
use std::process::Command;

const MOST: usize = 36;

#[test]
fn few_crates_are_needed() {
    let cargo = std::env::var_os("CARGO").unwrap();
    let mut tree = Command::new(cargo);
    tree.current_dir(env!("CARGO_MANIFEST_DIR"));
    tree.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]);
    let output = tree.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(crates.len() <= MOST, "{} crates; the budget is {MOST}: {crates:?}", crates.len());
}
