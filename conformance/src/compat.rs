//! `conformance table`: what engines do over a runtime, from the results of runs on several hosts, as the table of its README.
//!
//! Invariant: a cell says nothing that its results do not say; a case without a result is not run.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::engines;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A host's column: its heading and the output of `run --runtime R --filter engines/ --json` there. May be given several times.
    #[arg(value_name = "HEADING=FILE", required = true)]
    columns: Vec<String>,
    /// Put the table into this file, in the place of the one that is there, instead of printing it.
    #[arg(long)]
    into: Option<PathBuf>,
}

const BEGIN: &str = "<!-- made by `conformance table` -->\n";
const END: &str = "<!-- end of the table -->\n";

/// One result, as `run --json` writes it.
#[derive(Debug, Deserialize)]
struct Found {
    case: String,
    outcome: String,
}

struct Column {
    heading: String,
    found: Vec<Found>,
}

/// Prints the table, or replaces it in a file.
pub(crate) fn table(args: &Args) -> Result<()> {
    let columns = args.columns.iter().map(|text| column(text)).collect::<Result<Vec<_>>>()?;
    let made = markdown(&columns);
    match &args.into {
        Some(file) => replace(file, &made),
        None => Ok(std::io::stdout().write_all(made.as_bytes())?),
    }
}

fn column(text: &str) -> Result<Column> {
    let (heading, file) = text.split_once('=').with_context(|| format!("find `=` in {text:?}"))?;
    let lines = std::fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let found: Vec<Found> = lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("read {file}: {line}")))
        .collect::<Result<_>>()?;
    let first = found.first().map(|row| row.case.as_str());
    ensure!(first.is_some(), "{file} has no results");
    Ok(Column { heading: heading.to_owned(), found })
}

/// The engines and, of each, its cases without the engine's name.
fn by_engine() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut engines: Vec<(&str, Vec<&str>)> = Vec::new();
    for case in engines::ALL.iter().copied().flatten() {
        let name = case.name.trim_start_matches("engines/");
        let (engine, claim) = name.split_once('-').unwrap_or((name, name));
        match engines.iter_mut().find(|(known, _)| *known == engine) {
            Some((_, claims)) => claims.push(claim),
            None => engines.push((engine, vec![claim])),
        }
    }
    engines
}

fn markdown(columns: &[Column]) -> String {
    let mut text = String::from("| engine | a case each |");
    columns.iter().for_each(|column| text.push_str(&format!(" {} |", column.heading)));
    text.push_str(&format!("\n|---|---|{}\n", "---|".repeat(columns.len())));
    for (engine, claims) in by_engine() {
        text.push_str(&format!("| {engine} | {} |", claims.join(", ")));
        columns.iter().for_each(|column| text.push_str(&format!(" {} |", cell(column, engine, &claims))));
        text.push('\n');
    }
    text
}

/// How many passed, and which did not.
fn cell(column: &Column, engine: &str, claims: &[&str]) -> String {
    let outcome = |claim: &str| {
        let name = format!("engines/{engine}-{claim}");
        let row = column.found.iter().find(|row| row.case == name);
        row.map_or("not_run", |row| row.outcome.as_str())
    };
    let those = |wanted: &str| -> Vec<&str> {
        claims.iter().copied().filter(|claim| outcome(claim) == wanted).collect()
    };
    let (passed, failed, not_run) = (those("passed"), those("failed"), those("not_run"));
    let mut text = format!("{} of {}", passed.len(), claims.len());
    if !failed.is_empty() {
        text.push_str(&format!("; failed: {}", failed.join(", ")));
    }
    if !not_run.is_empty() && !passed.is_empty() {
        text.push_str(&format!("; not run: {}", not_run.join(", ")));
    }
    if passed.is_empty() && failed.is_empty() { "not run".to_owned() } else { text }
}

fn replace(file: &Path, made: &str) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let (before, after) = parts(&text).with_context(|| format!("find the table in {}", file.display()))?;
    let whole = format!("{before}{BEGIN}{made}{END}{after}");
    std::fs::write(file, whole).with_context(|| format!("write {}", file.display()))
}

/// What stands before and after the table.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(case: &str, outcome: &str) -> Found {
        Found { case: case.to_owned(), outcome: outcome.to_owned() }
    }

    #[test]
    fn a_cell_counts_what_passed_and_names_the_rest() {
        let found = vec![found("engines/x-a", "passed"), found("engines/x-b", "failed")];
        let column = Column { heading: "here".to_owned(), found };
        assert_eq!(cell(&column, "x", &["a"]), "1 of 1");
        assert_eq!(cell(&column, "x", &["a", "b", "c"]), "1 of 3; failed: b; not run: c");
        assert_eq!(cell(&column, "y", &["a"]), "not run");
    }

    /// Who adds a case runs the engines' cases and makes the table again: the README of the package says how.
    #[test]
    fn the_runtimes_readme_names_every_case() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/README.md");
        let text = std::fs::read_to_string(file).unwrap();
        let (before, after) = parts(&text).unwrap();
        let table = text.strip_prefix(before).unwrap().strip_suffix(after).unwrap();
        for (engine, claims) in by_engine() {
            let row = format!("| {engine} | {} |", claims.join(", "));
            assert!(table.contains(&row), "runtime/README.md has no row {row}");
        }
    }
}
