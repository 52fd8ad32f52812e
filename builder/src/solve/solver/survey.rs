//! Before anything is carried out: which steps nobody needs, because all that would take from them is kept already.
//!
//! Only what the cache lacks is left out; a kept step costs nothing, and is shown as such.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::queue;
use super::taken::Look;
use super::{Kept, Solver, lock};
use crate::error::Error;
use crate::graph::{self, CacheUse, Graph, Node, NodeId, Operation};
use crate::store::Key;

/// What is known of a node without carrying anything out.
#[derive(Debug, Clone)]
struct Seen {
    /// What its result is, or would be, kept under; `None` where only its inputs' files would tell.
    key: Option<Key>,
    is_kept: bool,
}

const UNKNOWN: Seen = Seen { key: None, is_kept: false };

impl Solver<'_> {
    /// The steps to leave out, by the keys that they would have had.
    pub(super) fn unneeded(&self) -> Result<BTreeMap<NodeId, Key>, Error> {
        let graph = self.graph;
        let takes = |node: &Node| node.inputs.iter().any(|input| Some(*input) != node.base);
        if !graph.nodes.iter().any(takes) {
            return Ok(BTreeMap::new());
        }
        let seen = queue::run(graph, |id, inputs| Ok(self.look(id, &inputs)), || {})?;
        let is_kept = |id: NodeId| seen.get(id.0).is_some_and(|seen| seen.is_kept);
        let needed = needed(graph, &is_kept);
        let left_out = graph.nodes.iter().filter(|node| !needed.contains(&node.id) && !is_kept(node.id));
        Ok(left_out.filter_map(|node| Some((node.id, seen.get(node.id.0)?.key.clone()?))).collect())
    }

    /// A step that cannot be looked at says why when it is carried out, if it ever is.
    fn look(&self, id: NodeId, inputs: &[Seen]) -> Seen {
        let keys: Option<Vec<Key>> = inputs.iter().map(|input| input.key.clone()).collect();
        let (Some(node), Some(keys)) = (self.graph.nodes.get(id.0), keys) else { return UNKNOWN };
        if matches!(node.operation, Operation::Image(_) | Operation::Scratch) {
            return Seen { key: Some(graph::key(node, &[], &[])), is_kept: true };
        }
        let Ok(found) = self.taken(node, Look::Outside) else { return UNKNOWN };
        let defined = graph::key(node, &keys, &found.taken);
        let key = match (found.is_whole, self.glance(&defined)) {
            (true, _) => Some(defined),
            (false, Some(Kept::As(key))) => Some(key),
            (false, _) => None,
        };
        lock(&self.surveyed).insert(id, Arc::new(found));
        let is_result = |key: &Key| matches!(self.glance(key), Some(Kept::Unchanged | Kept::Layer(_)));
        let is_kept = node.cache == CacheUse::Use && key.as_ref().is_some_and(is_result);
        Seen { key, is_kept }
    }

    /// What is known under a key, nothing fetched.
    fn glance(&self, key: &Key) -> Option<Kept> {
        Kept::read(&self.env.store, key).ok().flatten().or_else(|| self.imports.glance(key))
    }
}

/// From the result down: what is kept needs what it stands on, and what is not needs all that it takes from.
fn needed(graph: &Graph, is_kept: &impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
    let mut needed = BTreeSet::new();
    // Those that are to run again are, whether anything else would be missing or not.
    let again = graph.nodes.iter().filter(|node| node.cache == CacheUse::Renew);
    let mut next: Vec<NodeId> = again.map(|node| node.id).chain([graph.result]).collect();
    while let Some(id) = next.pop() {
        let Some(node) = graph.nodes.get(id.0).filter(|_| needed.insert(id)) else { continue };
        if is_kept(id) {
            next.extend(node.base);
        } else {
            next.extend(node.inputs.iter().copied());
        }
    }
    needed
}
