//! The ready queue: nodes whose inputs are there, taken by as many threads as there is work.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Kind};
use crate::graph::{Graph, NodeId};

/// Most steps wait for their process or for the disk: more of them than cores.
const MOST_AT_ONCE: usize = 16;

struct State<T> {
    ready: BTreeSet<NodeId>,
    done: Vec<Option<T>>,
    running: usize,
    failed: Option<Error>,
}

/// Gives each node to `work` once its inputs are done, several at once; the results in the order of the nodes.
///
/// After a failure nothing new begins; `fail` is told at once, and the failure is the result.
pub(super) fn run<T: Clone + Send>(
    graph: &Graph,
    work: impl Fn(NodeId, Vec<T>) -> Result<T, Error> + Sync,
    fail: impl Fn() + Sync,
) -> Result<Vec<T>, Error> {
    let state = Mutex::new(State {
        ready: graph.nodes.iter().filter(|node| node.inputs.is_empty()).map(|node| node.id).collect(),
        done: vec![None; graph.nodes.len()],
        running: 0,
        failed: None,
    });
    let changed = Condvar::new();
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..MOST_AT_ONCE.min(graph.nodes.len()) {
            scope.spawn(|| {
                while let Some((id, inputs)) = take(lock(), &changed, graph) {
                    let result = work(id, inputs);
                    if result.is_err() {
                        fail();
                    }
                    put(lock(), graph, (id, result));
                    changed.notify_all();
                }
            });
        }
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => state
            .done
            .into_iter()
            .collect::<Option<Vec<T>>>()
            .ok_or_else(|| Error::new(Kind::Invalid, "a step of the build waits for itself")),
    }
}

/// The next node and the results of its inputs, or nothing when all is done or lost.
fn take<T: Clone>(
    mut state: MutexGuard<'_, State<T>>,
    changed: &Condvar,
    graph: &Graph,
) -> Option<(NodeId, Vec<T>)> {
    loop {
        if state.failed.is_some() {
            return None;
        }
        if let Some(id) = state.ready.pop_first() {
            state.running += 1;
            let node = graph.nodes.get(id.0)?;
            let input = |id: &NodeId| state.done.get(id.0).cloned().flatten();
            return Some((id, node.inputs.iter().filter_map(input).collect()));
        }
        if state.running == 0 {
            return None;
        }
        state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn put<T>(mut state: MutexGuard<'_, State<T>>, graph: &Graph, (id, result): (NodeId, Result<T, Error>)) {
    state.running -= 1;
    match result {
        Ok(value) => {
            if let Some(place) = state.done.get_mut(id.0) {
                *place = Some(value);
            }
            let is_done = |id: &NodeId| state.done.get(id.0).is_some_and(Option::is_some);
            let ready: Vec<NodeId> = graph
                .nodes
                .iter()
                .filter(|node| node.inputs.contains(&id) && node.inputs.iter().all(is_done))
                .map(|node| node.id)
                .collect();
            state.ready.extend(ready);
        }
        // The first failure is the cause; what it cut short only follows.
        Err(error) => {
            state.failed.get_or_insert(error);
        }
    }
}
