//! Which steps nobody needs, because all that would take from them is kept already.
//!
//! It goes on beside the steps: one that is needed whatever else is found does not wait for a download of another. Only what
//! the cache lacks is left out; a kept step costs nothing, and is shown as such.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::super::queue;
use super::taken::{Found, Look};
use super::{Kept, Solver, lock};
use crate::context;
use crate::error::Error;
use crate::graph::{self, CacheUse, Graph, Node, NodeId, Operation, Source};
use crate::step::Interrupt;
use crate::store::Key;

/// What is known of a node without carrying anything out.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// What its result is, or would be, kept under; `None` where only its inputs' files would tell.
    key: Option<Key>,
    /// Whether its result is, and all that it stands on.
    is_kept: bool,
}

const UNKNOWN: Seen = Seen { key: None, is_kept: false };

/// What is to become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is needed, or kept.
    Solve,
    /// Nobody needs it; it would have been kept under this key.
    LeaveOut(Key),
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Survey {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Option<Seen>>,
    /// Those that cannot be kept, whatever their files are: they take from an address that the store has never had.
    new: BTreeSet<NodeId>,
    is_over: bool,
}

impl Survey {
    /// One of nodes that have all been looked at.
    pub(super) fn over(seen: Vec<Seen>) -> Self {
        let seen = seen.into_iter().map(Some).collect();
        let state = State { seen, is_over: true, ..State::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// Of nodes of which nobody knows anything yet.
    pub(super) fn begin(&self, graph: &Graph, new: BTreeSet<NodeId>) {
        self.change(|state| (state.seen, state.new) = (vec![None; graph.nodes.len()], new));
    }

    pub(super) fn put(&self, id: NodeId, seen: Seen) {
        self.change(|state| {
            if let Some(place) = state.seen.get_mut(id.0) {
                *place = Some(seen);
            }
        });
    }

    /// Whether one was seen that has to be carried out, whatever else is found.
    pub(super) fn is_incomplete(&self, graph: &Graph) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_incomplete(graph)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits for as long as it depends on what is not seen yet.
    pub(super) fn verdict(&self, graph: &Graph, id: NodeId) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(verdict) = state.verdict(graph, id) {
                return verdict;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn seen(&self, id: NodeId) -> Option<&Seen> {
        self.seen.get(id.0).and_then(Option::as_ref)
    }

    /// One that is not seen yet may be kept: then it needs no more than what it stands on.
    fn may_be_kept(&self, id: NodeId) -> bool {
        !self.new.contains(&id) && self.seen(id).is_none_or(|seen| seen.is_kept)
    }

    fn is_incomplete(&self, graph: &Graph) -> bool {
        needed(graph, &|id| self.may_be_kept(id)).iter().any(|id| !self.may_be_kept(*id))
    }

    fn verdict(&self, graph: &Graph, id: NodeId) -> Option<Verdict> {
        let seen = |id: NodeId| self.seen(id);
        let is_kept = |id: NodeId| seen(id).is_some_and(|seen| seen.is_kept);
        if !self.is_over {
            let is_certain = seen(id)?.is_kept || needed(graph, &|id| self.may_be_kept(id)).contains(&id);
            return is_certain.then_some(Verdict::Solve);
        }
        if is_kept(id) || needed(graph, &is_kept).contains(&id) {
            return Some(Verdict::Solve);
        }
        Some(seen(id).and_then(|seen| seen.key.clone()).map_or(Verdict::Solve, Verdict::LeaveOut))
    }
}

/// Ends the survey, whatever happens to it.
struct Over<'a>(&'a Survey);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.is_over = true);
    }
}

impl Solver<'_> {
    /// Looks at every node, in as many threads as there is work.
    pub(super) fn look_at_all(&self) {
        let _over = Over(&self.survey);
        let graph = self.graph;
        let takes = |node: &Node| node.inputs.iter().any(|input| Some(*input) != node.base);
        if !graph.nodes.iter().any(takes) {
            return;
        }
        self.survey.begin(graph, self.new_nodes());
        let look = |id: NodeId, inputs: Vec<Seen>| {
            if self.interrupt.is_raised() {
                return Err(Interrupt::error());
            }
            let seen = self.look(id, &inputs, Look::Outside);
            self.survey.put(id, seen.clone());
            Ok(seen)
        };
        // It ends early where the build does, and then nobody asks what else there was.
        drop(queue::run(graph, look, || {}));
    }

    /// The address is in the key of the step, and that key in the keys of those that take from it.
    pub(super) fn new_nodes(&self) -> BTreeSet<NodeId> {
        let mut new = BTreeSet::new();
        if !self.imports.is_empty() {
            return new;
        }
        let is_new = |source: &Source| match source {
            Source::Http { url, .. } => !context::is_known(&self.env.store, url),
            _ => false,
        };
        for node in &self.graph.nodes {
            let (stands_alone, takes_new) = match &node.operation {
                Operation::Copy(copy) => (copy.link, copy.sources.iter().any(is_new)),
                _ => (false, false),
            };
            let mut inputs = node.inputs.iter().filter(|input| !stands_alone || Some(**input) != node.base);
            if takes_new || inputs.any(|input| new.contains(input)) {
                new.insert(node.id);
            }
        }
        new
    }

    /// A step that cannot be looked at says why when it is carried out, if it ever is.
    pub(super) fn look(&self, id: NodeId, inputs: &[Seen], look: Look<'_>) -> Seen {
        let keys: Option<Vec<Key>> = inputs.iter().map(|input| input.key.clone()).collect();
        let (Some(node), Some(keys)) = (self.graph.nodes.get(id.0), keys) else { return UNKNOWN };
        if matches!(node.operation, Operation::Image(_) | Operation::Scratch) {
            return Seen { key: Some(graph::key(node, &[], &[])), is_kept: true };
        }
        let Ok(found) = self.found(node, look) else { return UNKNOWN };
        let defined = graph::key(node, &keys, &found.taken);
        let (key, result) = match (found.is_whole, self.glance(&defined)) {
            (true, result) => (Some(defined), result),
            (false, Some(Kept::As(key))) => (Some(key.clone()), self.glance(&key)),
            (false, _) => (None, None),
        };
        // What stands on a step that is carried out is too.
        let may_be_kept = node.cache == CacheUse::Use
            && (node.base.is_none() || inputs.first().is_some_and(|base| base.is_kept));
        let is_kept = may_be_kept && matches!(result, Some(Kept::Unchanged | Kept::Layer(_)));
        Seen { key, is_kept }
    }

    /// What an earlier look has found, or this one does.
    fn found(&self, node: &Node, look: Look<'_>) -> Result<Arc<Found>, Error> {
        let before = lock(&self.surveyed).get(&node.id).cloned();
        if let Some(found) = before {
            return Ok(found);
        }
        let found = Arc::new(self.taken(node, look)?);
        lock(&self.surveyed).insert(node.id, Arc::clone(&found));
        Ok(found)
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
    let mut next: Vec<NodeId> = again.map(|node| node.id).chain(graph.goals()).collect();
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
