//! Before anything else: whether all that the result needs is kept. Then nothing is carried out, and no namespaces are needed for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::survey::Seen;
use super::taken::{Found, Look};
use super::{Solver, changed, lock};
use crate::error::{Error, Kind};
use crate::graph::{Graph, Node, NodeId, Operation, Source};
use crate::solve::fetched::Fetched;
use crate::solve::import::Imports;
use crate::solve::{Env, queue};

/// What was found out, as a plain value: a process may leave it to its child.
#[derive(Default)]
pub struct Known {
    /// What steps take from outside.
    pub(super) found: BTreeMap<NodeId, Arc<Found>>,
    /// What addresses gave, which is not asked for twice.
    pub(in crate::solve) fetched: Arc<Fetched>,
    /// All nodes, where what is needed of them is kept.
    pub(super) seen: Option<Vec<Seen>>,
}

impl Known {
    /// Whether all that the result needs is kept: nothing will be carried out, and no file of an image looked at.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.seen.is_some()
    }

    /// With nothing but what was read of the user's files and of addresses: what is kept is looked up again.
    #[must_use]
    pub fn unsure(self) -> Self {
        Self { seen: None, ..self }
    }
}

/// Looks in whatever namespaces this process is, and no longer than until some step has to be carried out. Addresses are asked last,
/// and only where all else is kept: beside a step that is carried out anyhow there is time for that.
pub(in crate::solve) fn look(graph: &Graph, env: &Env) -> Known {
    let runtime = Err(Error::new(Kind::Invalid, "nothing runs yet"));
    let (fetched, imports) = (Arc::new(Fetched::default()), Imports::default());
    let at = (Path::new(""), runtime, &*fetched);
    let solver = Solver::new((graph, env), at, (&imports, Known::default()));
    solver.survey.begin(graph, solver.new_nodes());
    let seen = solver.look_here().and_then(|seen| match seen.into_iter().collect() {
        Some(all) => Some(all),
        None => solver.look_outside(),
    });
    let found = std::mem::take(&mut *lock(&solver.surveyed));
    Known { found, fetched, seen }
}

impl Solver<'_> {
    /// All nodes, `None` those that only an address would tell of; nothing, if some step has to be carried out.
    fn look_here(&self) -> Option<Vec<Option<Seen>>> {
        let look = |id: NodeId, inputs: Vec<Option<Seen>>| {
            let inputs: Option<Vec<Seen>> = inputs.into_iter().collect();
            let is_elsewhere = self.graph.nodes.get(id.0).is_some_and(takes_from_address);
            let seen = inputs.filter(|_| !is_elsewhere).map(|inputs| self.look(id, &inputs, Look::Here));
            self.put(id, seen.clone())?;
            Ok(seen)
        };
        queue::run(self.graph, look, || {}).ok()
    }

    fn look_outside(&self) -> Option<Vec<Seen>> {
        let look = |id: NodeId, inputs: Vec<Seen>| {
            let seen = self.look(id, &inputs, Look::Outside);
            self.put(id, Some(seen.clone()))?;
            Ok(seen)
        };
        queue::run(self.graph, look, || {}).ok()
    }

    /// The error ends the look, and is shown to nobody.
    fn put(&self, id: NodeId, seen: Option<Seen>) -> Result<(), Error> {
        if let Some(seen) = seen {
            self.survey.put(id, seen);
        }
        if self.survey.is_incomplete(self.graph) { Err(changed()) } else { Ok(()) }
    }
}

fn takes_from_address(node: &Node) -> bool {
    let Operation::Copy(copy) = &node.operation else { return false };
    copy.sources.iter().any(|source| matches!(source, Source::Http { .. } | Source::Git(_)))
}
