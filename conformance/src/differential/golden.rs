//! Recipes that are newer than the references a machine can have: their images are kept as text, made from the Dockerfile reference
//! and compared once with the newest BuildKit.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::image::Image;
use super::recipe::{Frontend, Recipe};
use super::tree::Tree;
use crate::build;

/// The newest frontend in a packaged Docker that the tests can have.
const PACKAGED: Frontend = Frontend(1, 7);

const KEPT: &str = include_str!("../../differential/newer.golden");

/// The line of the base image's history.
const OF_BASE: &str = "conformance";

/// Whether a recipe needs a golden.
pub(super) fn is_newer(recipe: &Recipe) -> bool {
    recipe.since > PACKAGED
}

/// The recipes whose images are not as they are kept; `UPDATE=1` keeps them as they are.
pub(super) fn wrong(images: &BTreeMap<&str, (&Image, u64)>, base: &Tree) -> Result<Vec<String>> {
    let mut shown = BTreeMap::new();
    for (name, (image, began)) in images {
        shown.insert(*name, show(image, base, *began)?);
    }
    if std::env::var_os("UPDATE").is_some() {
        let file =
            build::sources().context("find the sources")?.join("conformance/differential/newer.golden");
        let text: String = shown.iter().map(|(name, text)| format!("== {name}\n{text}")).collect();
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        return Ok(Vec::new());
    }
    let kept: BTreeMap<&str, &str> = KEPT.split("== ").filter_map(|part| part.split_once('\n')).collect();
    let differ = |(name, text): (&&str, &String)| match kept.get(*name) {
        Some(kept) if kept == text => None,
        Some(kept) => Some(format!("{name}: kept:\n{kept}now:\n{text}")),
        None => Some(format!("{name}: no golden; UPDATE=1 makes it")),
    };
    Ok(shown.iter().filter_map(differ).collect())
}

/// History and what is not the base's, a line each.
fn show(image: &Image, base: &Tree, began: u64) -> Result<String> {
    let mut text = String::new();
    let steps = image.config["history"].as_array().into_iter().flatten();
    for line in steps.filter_map(|step| step["created_by"].as_str()).filter(|line| *line != OF_BASE) {
        let _always = writeln!(text, "{line}");
    }
    let tree = image.tree()?;
    for (path, node) in tree.nodes() {
        if base.nodes().get(path).is_some_and(|old| old.looks_like(node)) || path.is_empty() {
            continue;
        }
        let time = if node.time >= began { "now".to_owned() } else { node.time.to_string() };
        let (length, hash) = node.content;
        let _always = writeln!(
            text,
            "{} {:o} {}:{} {time} {length} {hash:x} {path} {}",
            node.kind, node.mode, node.owner.0, node.owner.1, node.target
        );
    }
    Ok(text.lines().map(|line| format!("{}\n", line.trim_end())).collect())
}
