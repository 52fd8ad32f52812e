//! `cargo test --workspace`, counted.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use crate::report::Totals;
use crate::{build, process};

/// Compiling every test of a fresh clone takes longest.
const PATIENCE: Duration = Duration::from_secs(2400);

/// Runs every package's tests and counts them; the output is shown where something failed.
pub(crate) fn run(out: &mut impl Write, prebuilt: bool) -> Result<(Totals, Vec<String>)> {
    if prebuilt {
        let totals = Totals { skipped: 1, ..Totals::default() };
        return Ok((
            totals,
            vec!["not run: cargo test --workspace: this proof uses finished binaries".to_owned()],
        ));
    }
    writeln!(out, "cargo test --workspace")?;
    let mut command = build::cargo("test")?;
    command.args(["--workspace", "--no-fail-fast", "--quiet"]);
    let ended = process::run(&mut command, PATIENCE)?;
    let mut totals = count(&ended.out);
    let mut notes = Vec::new();
    if ended.code != 0 {
        writeln!(out, "{}\n{}", ended.out, ended.err)?;
        // Tests that did not compile, or a harness that crashed, print no count.
        totals.failed = totals.failed.max(1);
        let names = ended
            .out
            .lines()
            .filter(|line| line.starts_with("---- "))
            .map(|line| line.trim_matches(['-', ' ']));
        notes.push(format!("failed: cargo test --workspace: {}", names.collect::<Vec<_>>().join(", ")));
    }
    if totals.skipped > 0 {
        notes.push(format!("not run: {} tests that are marked ignored", totals.skipped));
    }
    writeln!(out, "cargo test: {totals}")?;
    Ok((totals, notes))
}

/// Sums the lines `test result: ok. N passed; N failed; N ignored; ...`.
fn count(text: &str) -> Totals {
    let mut totals = Totals::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let number = |word: &str| -> usize {
            let part =
                line.split([';', '.']).find(|part| part.trim_end().ends_with(word)).unwrap_or_default();
            part.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        totals.add(Totals { passed: number("passed"), failed: number("failed"), skipped: number("ignored") });
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_harnesses() {
        let text = "running 3 tests\n...\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
                    test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.50s\n";
        assert_eq!(count(text), Totals { passed: 13, failed: 2, skipped: 1 });
    }
}
