//! Results for people: a side-by-side table, the reasons, and the closing line.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::case::Outcome;
use crate::suite::Row;

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Totals {
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut totals = Self::default();
        for row in rows {
            totals.count(&row.outcome);
        }
        totals
    }

    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::NotRun(_) => self.skipped += 1,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// One line a case, one column a subject, in the order of the rows.
pub(crate) fn table(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    let mut subjects: Vec<&str> = Vec::new();
    let mut cases: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<(&str, &str), &Outcome> = BTreeMap::new();
    for row in rows {
        if !subjects.contains(&row.subject.as_str()) {
            subjects.push(&row.subject);
        }
        if !cases.contains(&row.case) {
            cases.push(row.case);
        }
        cells.insert((row.case, &row.subject), &row.outcome);
    }
    let width = cases.iter().map(|c| c.len()).max().unwrap_or(4).max(4);
    let widths: Vec<usize> = subjects.iter().map(|s| s.len().max(4)).collect();
    let mut line = format!("{:width$}", "case");
    for (subject, w) in subjects.iter().zip(&widths) {
        line.push_str(&format!("  {subject:w$}"));
    }
    writeln!(out, "{}", line.trim_end())?;
    for case in cases {
        let mut line = format!("{case:width$}");
        for (subject, w) in subjects.iter().zip(&widths) {
            let cell = cells.get(&(case, *subject)).map_or("", |outcome| word(outcome));
            line.push_str(&format!("  {cell:w$}"));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "pass",
        Outcome::Failed(_) => "FAIL",
        Outcome::NotRun(_) => "-",
    }
}

/// The failures, each with its reason, then the cases that were not run, gathered by reason.
pub(crate) fn reasons(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    for row in rows {
        if let Outcome::Failed(reason) = &row.outcome {
            writeln!(out, "failed: {} [{}]: {reason}", row.case, row.subject)?;
        }
    }
    let mut skipped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows {
        if let Outcome::NotRun(reason) = &row.outcome {
            skipped.entry(reason).or_default().push(row.case);
        }
    }
    for (reason, cases) in skipped {
        writeln!(out, "not run: {reason}: {}", cases.join(" "))?;
    }
    Ok(())
}

/// One line a subject: its totals.
pub(crate) fn per_subject(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    let mut totals: BTreeMap<&str, Totals> = BTreeMap::new();
    for row in rows {
        totals.entry(&row.subject).or_default().count(&row.outcome);
    }
    for (subject, totals) in totals {
        writeln!(out, "{subject}: {totals}")?;
    }
    Ok(())
}
