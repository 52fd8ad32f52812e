//! Why a step had to be carried out: what it depends on now, against what it depended on when it last was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::context::Content;
use crate::graph::{Node, Operation};
use crate::store::{Digest, Key, Record, Store};

/// More files than this are not remembered one by one.
const MOST_FILES: usize = 10_000;
/// More changes than this are counted.
const MOST_NAMED: usize = 5;

/// Everything that a step's key covers, in parts that have names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trace {
    /// Results that it stands on or takes from, by the titles of their steps.
    inputs: BTreeMap<String, Key>,
    /// Files of the machine that it takes.
    files: BTreeMap<String, Digest>,
    /// Variables, flags and whatever else the instruction says. Only digests: a value may be secret.
    words: BTreeMap<String, Digest>,
}

impl Trace {
    pub(super) fn new(node: &Node, inputs: &[(&str, &Key)], contents: &[Content]) -> Self {
        let inputs = inputs.iter().map(|(title, key)| (plain(title).to_owned(), (*key).clone())).collect();
        let count: usize = contents.iter().map(|content| content.objects.len()).sum();
        let files = match count {
            0..MOST_FILES => contents
                .iter()
                .flat_map(|content| &content.objects)
                .map(|(path, digest)| (path.display().to_string(), digest.clone()))
                .collect(),
            _ => contents.iter().map(|content| ("the files".to_owned(), content.digest.clone())).collect(),
        };
        Self { inputs, files, words: words(node) }
    }

    /// Remembers it as the last of this instruction.
    pub(super) fn keep(&self, store: &Store, node: &Node) {
        if let Ok(body) = serde_json::to_value(self) {
            // Without it the next build only has less to say.
            drop(store.put_record(&name(node), &Record { body, ..Record::default() }));
        }
    }

    /// One line for each reason why the last result does not stand in.
    pub(super) fn against_the_last(&self, store: &Store, node: &Node) -> Vec<String> {
        let last = store.record(&name(node)).ok().flatten();
        let Some(last) = last.and_then(|record| serde_json::from_value::<Self>(record.body).ok()) else {
            return vec!["this instruction was not carried out before".to_owned()];
        };
        let mut reasons = Vec::new();
        compare(&last.inputs, &self.inputs, "result of", &mut reasons);
        compare(&last.files, &self.files, "file", &mut reasons);
        compare(&last.words, &self.words, "", &mut reasons);
        if reasons.is_empty() {
            reasons.push("nothing changed, but its result is no longer in the store".to_owned());
        }
        reasons
    }
}

fn compare<T: PartialEq>(
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    what: &str,
    reasons: &mut Vec<String>,
) {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key, "is gone"));
    let changed = new.iter().filter_map(|(key, value)| match old.get(key) {
        None => Some((key, "is new")),
        Some(before) if before != value => Some((key, "changed")),
        Some(_) => None,
    });
    let all: Vec<_> = gone.chain(changed).collect();
    for (key, how) in all.iter().take(MOST_NAMED) {
        let line = format!("{what} {key} {how}");
        reasons.push(line.trim_start().to_owned());
    }
    if let Some(more @ 1..) = all.len().checked_sub(MOST_NAMED) {
        reasons.push(format!("and {more} more"));
    }
}

/// The same instruction in the same stage, wherever it stands and whatever stands before it.
fn name(node: &Node) -> Key {
    Key::from(&Digest::of(format!("trace\0{}\0{}", node.stage, plain(&node.title)).as_bytes()))
}

/// A title without its count: `[build 2/5] RUN make` is `RUN make`.
fn plain(title: &str) -> &str {
    title.split_once("] ").map_or(title, |(_, rest)| rest)
}

fn words(node: &Node) -> BTreeMap<String, Digest> {
    let mut words = BTreeMap::new();
    let mut add = |name: String, value: String| {
        words.insert(name, Digest::of(value.as_bytes()));
    };
    add("the time of files".to_owned(), format!("{:?}", node.time));
    match &node.operation {
        Operation::Run(run) => {
            for (name, value) in &run.env {
                add(format!("variable {name}"), value.clone());
            }
            add("the command".to_owned(), format!("{:?} {:?}", run.args, run.scripts));
            add("USER".to_owned(), run.user.clone());
            add("WORKDIR".to_owned(), run.cwd.clone());
            add("--mount".to_owned(), format!("{:?}", run.mounts));
            add("--network or --security".to_owned(), format!("{:?} {:?}", run.network, run.security));
            add("the hosts".to_owned(), format!("{:?} {:?}", run.hostname, run.add_hosts));
        }
        Operation::Copy(copy) => {
            add("the sources".to_owned(), format!("{:?}", copy.sources));
            add("the destination".to_owned(), copy.dest.clone());
            add("--chown".to_owned(), format!("{:?}", copy.chown));
            add("--chmod".to_owned(), format!("{:?}", copy.chmod));
            add("--exclude".to_owned(), format!("{:?}", copy.excludes));
        }
        Operation::Workdir(workdir) => add("USER".to_owned(), workdir.user.clone()),
        Operation::Image(_) | Operation::Scratch => {}
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(files: &[(&str, &str)], words: &[(&str, &str)]) -> Trace {
        let digests = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Digest::of(value.as_bytes()))).collect()
        };
        Trace { inputs: BTreeMap::new(), files: digests(files), words: digests(words) }
    }

    #[test]
    fn what_changed_is_named_and_much_is_counted() {
        let old = trace(&[("a", "1"), ("b", "1")], &[("variable X", "1")]);
        let new = trace(&[("a", "2"), ("c", "1")], &[("variable X", "2")]);
        let mut reasons = Vec::new();
        compare(&old.files, &new.files, "file", &mut reasons);
        compare(&old.words, &new.words, "", &mut reasons);
        assert_eq!(reasons, ["file b is gone", "file a changed", "file c is new", "variable X changed"]);
        let names: Vec<String> = (0..8).map(|number| format!("f{number}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let mut reasons = Vec::new();
        compare(&trace(&[], &[]).files, &trace(&many, &[]).files, "file", &mut reasons);
        assert_eq!(reasons.last().map(String::as_str), Some("and 3 more"));
    }
}
