//! The differences that are known, each with its reason. One that is listed and does not show is an error too.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::compare::Difference;

/// The list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    #[serde(default)]
    differs: Vec<Differs>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Differs {
    /// The recipe; `*` stands for any text, here and in `field`.
    recipe: String,
    field: String,
    /// The references, by name and version; all when absent.
    #[serde(default)]
    of: Vec<String>,
    why: String,
}

impl Differs {
    fn is_about(&self, reference: &str) -> bool {
        self.of.is_empty() || self.of.iter().any(|of| reference.starts_with(of.as_str()))
    }
}

/// Which recipes were built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    Whole,
    Part,
}

/// The list, and which of its rows were needed.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    known: &'a Known,
    reference: &'a str,
    used: BTreeSet<usize>,
}

impl Known {
    /// The list of the house.
    pub(super) fn read() -> Result<Self> {
        toml::from_str(include_str!("../../known/buildkit.toml")).context("read known/buildkit.toml")
    }

    /// For one reference, as `docker 20.10.24`.
    pub(super) fn judge<'a>(&'a self, reference: &'a str) -> Judge<'a> {
        Judge { known: self, reference, used: BTreeSet::new() }
    }
}

impl Judge<'_> {
    /// Those that no row explains.
    pub(super) fn unexplained(&mut self, recipe: &str, found: Vec<Difference>) -> Vec<Difference> {
        found.into_iter().filter(|difference| !self.explains(recipe, &difference.field)).collect()
    }

    fn explains(&mut self, recipe: &str, field: &str) -> bool {
        let rows = self.known.differs.iter().enumerate();
        let fitting = rows.filter(|(_, row)| {
            row.is_about(self.reference) && matches(&row.recipe, recipe) && matches(&row.field, field)
        });
        let fitting: Vec<usize> = fitting.map(|(number, _)| number).collect();
        self.used.extend(&fitting);
        !fitting.is_empty()
    }

    /// The rows about these recipes that explained nothing; a row about many is judged only where all of them were built.
    pub(super) fn unneeded(&self, recipes: &[&str], selection: Selection) -> Vec<String> {
        let rows = self.known.differs.iter().enumerate();
        let unneeded = rows.filter(|(number, row)| {
            row.is_about(self.reference)
                && !self.used.contains(number)
                && (selection == Selection::Whole || !row.recipe.contains('*'))
                && recipes.iter().any(|recipe| matches(&row.recipe, recipe))
        });
        unneeded
            .map(|(_, row)| format!("{} {}: equal, where the list says: {}", row.recipe, row.field, row.why))
            .collect()
    }
}

/// Whether `text` is `pattern`, whose `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).filter_map(|at| text.get(at..)).any(|tail| matches(rest, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_difference_is_explained_and_a_listed_equality_is_told() {
        let known: Known = toml::from_str(
            "[[differs]]\nrecipe = \"run/*\"\nfield = \"file etc/* mode\"\nwhy = \"it is old\"\nof = [\"docker 20\"]\n\
             [[differs]]\nrecipe = \"a\"\nfield = \"author\"\nwhy = \"we differ\"\n",
        )
        .unwrap();
        let difference = |field: &str| Difference {
            field: field.to_owned(),
            theirs: "1".to_owned(),
            ours: "2".to_owned(),
        };
        let mut judge = known.judge("docker 20.10");
        let left =
            judge.unexplained("run/x", vec![difference("file etc/x mode"), difference("file etc/x time")]);
        assert_eq!(left, [difference("file etc/x time")]);
        assert_eq!(
            judge.unneeded(&["run/x", "a"], Selection::Whole),
            ["a author: equal, where the list says: we differ"]
        );
        assert_eq!(judge.unneeded(&["run/x"], Selection::Whole), Vec::<String>::new());
        let mut other = known.judge("docker 26");
        assert_eq!(other.unexplained("run/x", vec![difference("file etc/x mode")]).len(), 1);
    }

    #[test]
    fn the_list_can_be_read_and_names_recipes_that_there_are() {
        let recipes = super::super::recipe::all().unwrap();
        for row in Known::read().unwrap().differs {
            assert!(recipes.iter().any(|r| matches(&row.recipe, &r.name)), "no recipe {}", row.recipe);
            assert!(!row.why.is_empty());
        }
    }
}
