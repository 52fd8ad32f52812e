//! Two images, field by field and file by file.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use super::image::Image;
use super::tree::{Node, Tree};

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// `config.Env`, `history[2].created_by`, `file etc/passwd mode`.
    pub(super) field: String,
    pub(super) theirs: String,
    pub(super) ours: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} there, {} here", self.field, self.theirs, self.ours)
    }
}

/// Everything in which `ours` is not `theirs`. Times from `began` on are all the same: they are of the build itself.
pub(super) fn differences(theirs: &Image, ours: &Image, began: u64) -> Result<Vec<Difference>> {
    let mut found = Differences { began, list: Vec::new() };
    found.configs(&theirs.config, &ours.config);
    found.trees(&theirs.tree()?, &ours.tree()?);
    Ok(found.list)
}

struct Differences {
    began: u64,
    list: Vec<Difference>,
}

impl Differences {
    fn add(&mut self, field: String, theirs: impl std::fmt::Display, ours: impl std::fmt::Display) {
        let (theirs, ours) = (theirs.to_string(), ours.to_string());
        if theirs != ours {
            self.list.push(Difference { field, theirs, ours });
        }
    }

    fn configs(&mut self, theirs: &Value, ours: &Value) {
        for field in ["architecture", "os", "variant", "author"] {
            self.add(field.to_owned(), shown(&theirs[field]), shown(&ours[field]));
        }
        for field in keys(&theirs["config"], &ours["config"]) {
            let of = |config: &Value| shown(&config["config"][field]);
            self.add(format!("config.{field}"), of(theirs), of(ours));
        }
        let (theirs, ours) = (steps(theirs), steps(ours));
        self.add("history length".to_owned(), theirs.len(), ours.len());
        for (number, (there, here)) in theirs.iter().zip(&ours).enumerate() {
            for field in ["created_by", "author", "comment", "empty_layer"] {
                self.add(format!("history[{number}].{field}"), shown(&there[field]), shown(&here[field]));
            }
        }
    }

    fn trees(&mut self, theirs: &Tree, ours: &Tree) {
        let paths: BTreeSet<&String> = theirs.nodes().keys().chain(ours.nodes().keys()).collect();
        for path in paths {
            // Some write an entry for the root itself; it says nothing that a container keeps.
            if path.is_empty() {
                continue;
            }
            match (theirs.nodes().get(path), ours.nodes().get(path)) {
                (Some(there), Some(here)) => {
                    self.nodes(path, there, here);
                    let twins = |tree: &Tree| tree.twins(path).join(" ");
                    self.add(format!("file {path} links"), twins(theirs), twins(ours));
                }
                (there, here) => {
                    let word = |node: Option<&Node>| node.map_or("absent", |node| node.kind);
                    self.add(format!("file {path}"), word(there), word(here));
                }
            }
        }
    }

    fn nodes(&mut self, path: &str, there: &Node, here: &Node) {
        let mut add = |field: &str, theirs: String, ours: String| {
            self.add(format!("file {path} {field}"), theirs, ours);
        };
        let owner = |node: &Node| format!("{}:{}", node.owner.0, node.owner.1);
        add("kind", there.kind.to_owned(), here.kind.to_owned());
        add("mode", format!("{:o}", there.mode), format!("{:o}", here.mode));
        add("owner", owner(there), owner(here));
        add("target", there.target.clone(), here.target.clone());
        add("content", format!("{:x?}", there.content), format!("{:x?}", here.content));
        add("attributes", format!("{:?}", there.attributes), format!("{:?}", here.attributes));
        if let Some((there, here)) = self.times(there, here) {
            self.add(format!("file {path} time"), there, here);
        }
    }

    /// The times, where both say something: that of a directory changes with every file that is made in it, and whether a layer
    /// has an entry for it then is the builder's choice.
    fn times(&self, there: &Node, here: &Node) -> Option<(String, String)> {
        let of_build = [there, here].map(|node| node.time >= self.began);
        let says = here.kind != "directory" || of_build == [false, false];
        let shown = |node: &Node| {
            if node.time >= self.began { "of the build".to_owned() } else { node.time.to_string() }
        };
        says.then(|| (shown(there), shown(here)))
    }
}

/// An absent field, a null and an empty value are one thing to Go's programs.
fn shown(value: &Value) -> String {
    let empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    if empty { "nothing".to_owned() } else { sorted(value).to_string() }
}

/// With the members of objects in the order of their names.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let names: BTreeSet<&String> = fields.keys().collect();
            names.into_iter().map(|name| (name.clone(), sorted(&fields[name]))).collect()
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn keys<'a>(one: &'a Value, other: &'a Value) -> BTreeSet<&'a str> {
    let of = |value: &'a Value| value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    of(one).chain(of(other)).collect()
}

fn steps(config: &Value) -> Vec<Value> {
    config["history"].as_array().cloned().unwrap_or_default()
}
