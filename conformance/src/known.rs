//! What is known of the peers: the cases that a given version fails, each with the reason. An unexpected pass is red too.
//!
//! Invariant: a list speaks about one version only; another version is compared and never judged.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::case::Outcome;
use crate::subject::{Kind, Subject};
use crate::suite::Row;

/// One peer's list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// The version it was made with, as `--version` prints it.
    version: String,
    #[serde(default)]
    fails: Vec<Fails>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fails {
    case: String,
    why: String,
    /// True where it depends on chance: then a pass is no surprise.
    #[serde(default)]
    sometimes: bool,
    /// The sort of host where it fails: all of these are true there; everywhere when absent.
    #[serde(default, rename = "where")]
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Root,
    User,
    V1,
    V2,
    /// systemd manages the host.
    Systemd,
    /// Nothing manages it.
    Bare,
}

impl Place {
    fn is(self, host: &crate::needs::Host) -> bool {
        match self {
            Self::Root => host.root,
            Self::User => !host.root,
            Self::V1 => !host.pure_v2,
            Self::V2 => host.pure_v2,
            Self::Systemd => host.systemd,
            Self::Bare => !host.systemd,
        }
    }
}

/// The list for `subject`, where there is one for its version.
pub(crate) fn list(subject: &Subject) -> Result<Option<Known>> {
    let text = match subject.kind {
        Kind::Runc => include_str!("../known/runc.toml"),
        Kind::Crun => include_str!("../known/crun.toml"),
        Kind::Youki => include_str!("../known/youki.toml"),
        Kind::Ours | Kind::Other => return Ok(None),
    };
    let known: Known = toml::from_str(text).with_context(|| format!("read known/{}.toml", subject.name))?;
    Ok(Some(known).filter(|k| subject.version.split_whitespace().any(|word| word.starts_with(&k.version))))
}

/// What our runtime fails of runc's own integration tests.
pub(crate) fn runc_suite() -> Result<Known> {
    toml::from_str(include_str!("../known/runc-suite.toml")).context("read known/runc-suite.toml")
}

/// Every difference between the list and what happened, as a line.
pub(crate) fn differences(known: &Known, host: &crate::needs::Host, rows: &[&Row]) -> Vec<String> {
    known.differences(host, rows.iter().map(|row| (row.case, &row.outcome)))
}

impl Known {
    /// Every difference between the list and what happened, as a line.
    pub(crate) fn differences<'a>(
        &self,
        host: &crate::needs::Host,
        outcomes: impl Iterator<Item = (&'a str, &'a Outcome)>,
    ) -> Vec<String> {
        let expected: BTreeMap<&str, &Fails> = self.here(host).map(|f| (f.case.as_str(), f)).collect();
        let mut found = Vec::new();
        for (case, outcome) in outcomes {
            match (outcome, expected.get(case)) {
                (Outcome::Failed(reason), None) => found.push(format!("{case} fails unexpectedly: {reason}")),
                (Outcome::Passed, Some(fails)) if !fails.sometimes => {
                    found.push(format!("{case} passes, where the list says it fails: {}", fails.why));
                }
                _ => {}
            }
        }
        found
    }

    /// Why `case` fails on this host, where the list says so.
    pub(crate) fn why(&self, host: &crate::needs::Host, case: &str) -> Option<&str> {
        self.here(host).find(|fails| fails.case == case).map(|fails| fails.why.as_str())
    }

    fn here(&self, host: &crate::needs::Host) -> impl Iterator<Item = &Fails> {
        self.fails.iter().filter(|fails| fails.places.iter().all(|place| place.is(host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &'static str, outcome: Outcome) -> Row {
        Row { case, subject: "peer".to_owned(), outcome, milliseconds: 1 }
    }

    #[test]
    fn an_unexpected_pass_and_an_unexpected_failure_are_both_differences() {
        let known: Known = toml::from_str(
            "version = \"1\"\n[[fails]]\ncase = \"a\"\nwhy = \"it is old\"\n[[fails]]\ncase = \"c\"\nwhy = \"chance\"\nsometimes = true\n",
        )
        .unwrap();
        let host = crate::needs::Host::measure();
        let rows = [
            row("a", Outcome::Passed),
            row("b", Outcome::Failed("no".to_owned())),
            row("c", Outcome::Passed),
            row("d", Outcome::NotRun("absent".to_owned())),
        ];
        assert_eq!(
            differences(&known, &host, &rows.iter().collect::<Vec<_>>()),
            ["a passes, where the list says it fails: it is old", "b fails unexpectedly: no"]
        );
    }

    #[test]
    fn the_list_of_the_suite_names_file_and_test() {
        for fails in runc_suite().unwrap().fails {
            assert!(fails.case.contains(": ") && !fails.why.is_empty(), "{}", fails.case);
        }
    }

    #[test]
    fn every_list_can_be_read() {
        for text in [
            include_str!("../known/runc.toml"),
            include_str!("../known/crun.toml"),
            include_str!("../known/youki.toml"),
        ] {
            let known: Known = toml::from_str(text).unwrap();
            for fails in known.fails {
                assert!(crate::find_case(&fails.case).is_some(), "no case {}", fails.case);
                assert!(!fails.why.is_empty());
            }
        }
    }
}
