//! What is shown: one table for people, one value for programs.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::extra::Alive;
use super::statistics::Spread;

/// One workload with one runtime.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Cell {
    pub(super) runtime: String,
    /// Milliseconds.
    pub(super) wall: Spread,
    /// Milliseconds, of the whole tree.
    pub(super) cpu: Spread,
    pub(super) faults: f64,
    /// Where they could be counted.
    pub(super) calls: Option<u64>,
    /// Without those of the container's program.
    pub(super) own_calls: Option<u64>,
    pub(super) clones: Option<u64>,
    /// KiB, of the largest process.
    pub(super) peak: Option<u64>,
}

/// One workload; the first cell is what the others are compared to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) workload: String,
    pub(super) cells: Vec<Cell>,
    /// Runtimes that cannot do it here, with the reason.
    pub(super) cannot: Vec<(String, String)>,
}

/// One number of each runtime.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Single {
    pub(super) what: String,
    pub(super) values: Vec<(String, f64)>,
}

/// Everything.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Outcome {
    pub(super) host: String,
    pub(super) runtimes: Vec<(String, String)>,
    pub(super) rounds: u32,
    pub(super) lines: Vec<Line>,
    pub(super) singles: Vec<Single>,
    pub(super) alive: Vec<(String, Alive)>,
}

/// Ratios are of medians, to the first runtime of the same line.
pub(super) fn print(out: &mut impl Write, outcome: &Outcome) -> Result<()> {
    writeln!(
        out,
        "{}; {} rounds, interleaved; ratios of medians to the first runtime",
        outcome.host, outcome.rounds
    )?;
    for (name, version) in &outcome.runtimes {
        writeln!(out, "{name}: {version}")?;
    }
    let head = ["p10", "median", "p90", "ratio", "cpu", "ratio", "peak", "faults", "calls", "own", "clones"];
    write!(out, "\n{:32} {:10}", "ms; KiB", "")?;
    head.iter().try_for_each(|word| write!(out, " {word:>7}"))?;
    writeln!(out)?;
    for line in &outcome.lines {
        let first = line.cells.first();
        for (at, cell) in line.cells.iter().enumerate() {
            let name = if at == 0 { line.workload.as_str() } else { "" };
            write_cell(out, name, cell, first)?;
        }
        for (runtime, reason) in &line.cannot {
            writeln!(out, "{:32} {runtime:10} cannot run here: {reason}", line.workload)?;
        }
    }
    for single in &outcome.singles {
        write!(out, "{:32}", single.what)?;
        single.values.iter().try_for_each(|(name, value)| write!(out, " {name} {value:.1}"))?;
        writeln!(out)?;
    }
    for (name, alive) in &outcome.alive {
        let (first, last) = (alive.first.median, alive.last.median);
        writeln!(out, "{:32} {name} first {first:.2} ms, last {last:.2} ms", "many alive")?;
    }
    Ok(())
}

fn write_cell(out: &mut impl Write, name: &str, cell: &Cell, first: Option<&Cell>) -> Result<()> {
    let ratio = |of: fn(&Cell) -> f64| first.map_or(0.0, |first| of(cell) / of(first));
    let count = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let Spread { p10, median, p90 } = cell.wall;
    writeln!(
        out,
        "{name:32} {:10} {p10:7.2} {median:7.2} {p90:7.2} {:7.2} {:7.2} {:7.2} {:>7} {:7.0} {:>7} {:>7} {:>7}",
        cell.runtime,
        ratio(|cell| cell.wall.median),
        cell.cpu.median,
        ratio(|cell| cell.cpu.median),
        count(cell.peak),
        cell.faults,
        count(cell.calls),
        count(cell.own_calls),
        count(cell.clones),
    )?;
    Ok(())
}
