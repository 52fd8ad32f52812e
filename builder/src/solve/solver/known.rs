//! Before anything else: whether all that the result needs is kept. Then nothing is carried out, and no namespaces are needed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::survey::Seen;
use super::taken::{Found, Look};
use super::{Solver, changed, lock};
use crate::error::{Error, Kind};
use crate::graph::{Graph, NodeId};
use crate::solve::fetched::Fetched;
use crate::solve::import::Imports;
use crate::solve::{Env, queue};

/// What was found out, as a plain value: a process may leave it to its child.
#[derive(Default)]
pub struct Known {
    /// What steps take from outside.
    pub(super) found: BTreeMap<NodeId, Arc<Found>>,
    /// All nodes, where what is needed of them is kept.
    pub(super) seen: Option<Vec<Seen>>,
}

impl Known {
    /// Whether all that the result needs is kept: nothing will be carried out, and no file of an image looked at.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.seen.is_some()
    }

    /// With nothing but what was read of the user's files: what is kept is looked up again.
    #[must_use]
    pub fn unsure(self) -> Self {
        Self { seen: None, ..self }
    }
}

/// Looks on this machine alone, in whatever namespaces this process is, and no longer than until some step has to be carried out.
pub(in crate::solve) fn look(graph: &Graph, env: &Env) -> Known {
    let runtime = Err(Error::new(Kind::Invalid, "nothing runs yet"));
    let (fetched, imports) = (Fetched::default(), Imports::default());
    let at = (Path::new(""), runtime, &fetched);
    let solver = Solver::new((graph, env), at, (&imports, Known::default()));
    solver.survey.begin(graph, BTreeSet::new());
    let look = |id: NodeId, inputs: Vec<Seen>| {
        let seen = solver.look(id, &inputs, Look::Here);
        solver.survey.put(id, seen.clone());
        // The one that it returns ends the look, and is shown to nobody.
        if solver.survey.is_incomplete(graph) { Err(changed()) } else { Ok(seen) }
    };
    let seen = queue::run(graph, look, || {}).ok();
    Known { found: std::mem::take(&mut *lock(&solver.surveyed)), seen }
}
