//! The ready queue: nodes whose inputs are there, taken by as many threads as there is work.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use super::thread;
use crate::error::{Error, Kind};
use crate::graph::{Graph, NodeId};

/// Most steps wait for their process or for the disk: more of them than cores.
const MOST_AT_ONCE: usize = 16;

struct State<T> {
    ready: BTreeSet<NodeId>,
    done: Vec<Option<T>>,
    running: usize,
    /// Threads, and those of them that have nothing to do.
    workers: usize,
    idle: usize,
    failed: Option<Error>,
}

struct Queue<'a, T, W, F> {
    graph: &'a Graph,
    work: W,
    fail: F,
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// Gives each node to `work` once its inputs are done, several at once; the results in the order of the nodes.
///
/// After a failure nothing new begins; `fail` is told at once, and the failure is the result. A thread is made when a node is ready that
/// nobody takes: what stands in one line needs none but this.
pub(super) fn run<T: Clone + Send>(
    graph: &Graph,
    work: impl Fn(NodeId, Vec<T>) -> Result<T, Error> + Sync,
    fail: impl Fn() + Sync,
) -> Result<Vec<T>, Error> {
    let state = Mutex::new(State {
        ready: graph.nodes.iter().filter(|node| node.inputs.is_empty()).map(|node| node.id).collect(),
        done: vec![None; graph.nodes.len()],
        running: 0,
        workers: 1,
        idle: 0,
        failed: None,
    });
    let queue = Queue { graph, work, fail, state, changed: Condvar::new() };
    std::thread::scope(|scope| queue.serve(scope));
    let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => state
            .done
            .into_iter()
            .collect::<Option<Vec<T>>>()
            .ok_or_else(|| Error::new(Kind::Invalid, "a step of the build waits for itself")),
    }
}

impl<T, W, F> Queue<'_, T, W, F>
where
    T: Clone + Send,
    W: Fn(NodeId, Vec<T>) -> Result<T, Error> + Sync,
    F: Fn() + Sync,
{
    /// Works until there is nothing left.
    fn serve<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        while let Some((id, inputs)) = self.take(scope) {
            let result = (self.work)(id, inputs);
            if result.is_err() {
                (self.fail)();
            }
            self.put(id, result);
            self.changed.notify_all();
        }
    }

    /// The next node and the results of its inputs, or nothing when all is done or lost.
    fn take<'s>(&'s self, scope: &'s Scope<'s, '_>) -> Option<(NodeId, Vec<T>)> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(id) = state.ready.pop_first() {
                state.running += 1;
                let is_short = !state.ready.is_empty() && state.idle == 0 && state.workers < MOST_AT_ONCE;
                // Where no more threads are to be had, those that are there do the work.
                if is_short && thread::begin(scope, move || self.serve(scope)).is_ok() {
                    state.workers += 1;
                }
                let node = self.graph.nodes.get(id.0)?;
                let input = |id: &NodeId| state.done.get(id.0).cloned().flatten();
                return Some((id, node.inputs.iter().filter_map(input).collect()));
            }
            if state.running == 0 {
                return None;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn put(&self, id: NodeId, result: Result<T, Error>) {
        let mut state = self.lock();
        state.running -= 1;
        match result {
            Ok(value) => {
                if let Some(place) = state.done.get_mut(id.0) {
                    *place = Some(value);
                }
                let is_done = |id: &NodeId| state.done.get(id.0).is_some_and(Option::is_some);
                let waits =
                    |node: &&crate::graph::Node| node.inputs.contains(&id) && node.inputs.iter().all(is_done);
                let ready: Vec<NodeId> = self.graph.nodes.iter().filter(waits).map(|node| node.id).collect();
                state.ready.extend(ready);
            }
            // The first failure is the cause; what it cut short only follows.
            Err(error) => {
                state.failed.get_or_insert(error);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
