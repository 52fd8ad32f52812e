//! From a graph to an image: which steps have to run, in which order, and what is kept of them.
//!
//! Invariant: a step's result is recorded only when all of it is in the store, and a build that fails or is
//! interrupted leaves the store as it was.

mod assemble;
mod cell;
mod explain;
mod queue;
mod signals;
mod solver;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::Runtime;
use crate::context::Tree;
use crate::error::Error;
use crate::graph::Graph;
use crate::layer::Compression;
use crate::progress::Sender;
use crate::step::{Credentials, Interrupt};
use crate::store::{Descriptor, Store};

/// What a build works with besides its graph.
pub struct Env {
    /// Where everything is kept.
    pub store: Store,
    /// The build context.
    pub context: Arc<Tree>,
    /// Named contexts that are directories.
    pub named: BTreeMap<String, Arc<Tree>>,
    /// Secrets and agents.
    pub credentials: Credentials,
    /// The runtime that was asked for, if any.
    pub runtime: Option<PathBuf>,
    /// Where events go.
    pub progress: Sender,
    /// Whether each step says why it is carried out.
    pub explain: bool,
    /// How layers are written.
    pub compression: Compression,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Builds the image: its manifest's descriptor, with everything that it needs in the store.
///
/// Takes over SIGINT, SIGTERM, SIGHUP and SIGQUIT: any of them gives the build up.
///
/// # Errors
/// The first step that failed; an interruption.
pub fn solve(graph: &Graph, env: &Env) -> Result<Descriptor, Error> {
    let _shared = env.store.share()?;
    // Once more, now that the ids of all owners can be removed: this sweeps what a killed builder left.
    Store::open(env.store.root())?;
    let session = env.store.workspace()?;
    let runtime = Runtime::find(env.runtime.as_deref(), &session.path().join("state"));
    let interrupt = Interrupt::default();
    signals::watched(&interrupt, || {
        let chain = solver::run(graph, env, (&session, runtime), &interrupt)?;
        assemble::assemble(graph, env, &chain)
    })
}
