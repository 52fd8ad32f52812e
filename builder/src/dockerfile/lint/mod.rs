//! The rules that the text alone can break. Those about variables and bases are seen while the graph is made.
//!
//! Invariant: a rule only looks; a file that breaks every one of them builds all the same, unless it asks not to.

mod commands;
mod names;
mod values;

use super::ast::File;
use super::directive::{Check, Rules};
use super::ignore::Ignore;
use super::rule::{Rule, Warning};

/// Every rule that the file breaks, in the order of the text.
#[must_use]
pub fn lint(file: &File, ignore: Option<&Ignore>) -> Vec<Warning> {
    let mut found = Vec::new();
    names::check(file, &mut found);
    commands::check(file, &mut found);
    values::check(file, ignore, &mut found);
    found
}

/// The warnings that `check=` leaves, in the order of the text, each once.
#[must_use]
pub fn kept(warnings: Vec<Warning>, check: &Check) -> Vec<Warning> {
    let among = |rules: &Rules, rule: Rule| match rules {
        Rules::All => true,
        Rules::Named(names) => names.iter().any(|name| name.eq_ignore_ascii_case(&rule.name())),
    };
    let on = |rule: Rule| {
        !among(&check.skip, rule) && (!rule.is_experimental() || among(&check.experimental, rule))
    };
    let mut kept: Vec<Warning> = warnings.into_iter().filter(|warning| on(warning.rule)).collect();
    kept.sort_by_key(|warning| (warning.place.start, warning.rule));
    kept.dedup();
    kept
}
