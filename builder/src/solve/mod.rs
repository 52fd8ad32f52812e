//! From a graph to an image: which steps have to run, in which order, and what is kept of them.
//!
//! Invariant: a step's result is recorded only when all of it is in the store, and a build that fails or is
//! interrupted leaves the store as it was.

mod assemble;
mod cell;
mod explain;
mod export;
mod fetched;
mod import;
mod queue;
mod scanned;
mod signals;
mod solver;
mod thread;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::assemble::rfc3339;
pub use self::export::{Exported, Extent};
use self::fetched::Around;
use self::import::Imports;
pub use self::scanned::Scan;
pub use self::signals::watched;
pub use self::solver::Known;
use crate::bundle::{DeviceRegistry, Limits, Runtime};
use crate::context::Tree;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Source};
use crate::image::{Cache, Platform};
use crate::layer::Compression;
use crate::progress::Sender;
use crate::step::{Credentials, Interrupt};
use crate::store::{Descriptor, Store, Workspace};
use crate::sys::umask;

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
    /// The devices of this machine, and which of them a RUN may have.
    pub devices: DeviceRegistry,
    /// What a RUN may use at most.
    pub limits: Limits,
    /// Ends what runs when the build is given up.
    pub interrupt: Arc<Interrupt>,
    /// The terminal for a shell in the first RUN that fails, if there is to be one.
    pub terminal: Option<File>,
    /// Where events go.
    pub progress: Sender,
    /// Whether each step says why it is carried out.
    pub explain: bool,
    /// How layers are written.
    pub compression: Compression,
    /// Caches to take results from.
    pub caches: Vec<Cache>,
    /// Which records are to be exported, each extent once.
    pub exports: Vec<Extent>,
    /// Whether the image's config gets the records of its layers.
    pub inline_cache: bool,
    /// Whether it is to be said what was found at addresses.
    pub names_sources: bool,
    /// Annotations of the manifest for a platform, or for every one.
    pub annotations: Vec<(Option<Platform>, String, String)>,
}

/// What a build came to.
pub struct Solved {
    /// The image.
    pub image: Descriptor,
    /// How many of its layers are there after each node that it stands on.
    pub heights: BTreeMap<NodeId, usize>,
    /// What the scanner wrote about it.
    pub scans: Vec<Scan>,
    /// What it took from addresses, and what was there: a file's digest, a repository's commit.
    pub taken: Vec<(Source, String)>,
    /// The records of each extent that was asked for.
    pub caches: Vec<(Extent, Exported)>,
}

/// Looks at what is kept, in whatever namespaces this process is: nothing is mounted.
#[must_use]
pub fn look(graph: &Graph, env: &Env) -> Known {
    let known = solver::look(graph, env);
    // What a scanner wrote is read from an image's files, which are mounted for it.
    if graph.scan.is_some() { known.unsure() } else { known }
}

/// Builds the image: its manifest's descriptor, with everything that it needs in the store. Needs the builder's namespaces unless
/// what is known is complete.
///
/// # Errors
/// The first step that failed; an interruption.
pub fn solve(graph: &Graph, env: &Env, known: Known) -> Result<Solved, Error> {
    let _shared = env.store.share()?;
    let _modes = umask::Usual::set(); // the steps' files only: what is given out later is the user's
    let session = if known.is_complete() {
        None
    } else {
        // Once more, now that the ids of all owners can be removed: this sweeps what a killed builder left.
        Store::open(env.store.root())?;
        Some(env.store.workspace()?)
    };
    let session = session.as_ref().map_or(Path::new(""), Workspace::path);
    let runtime = Runtime::find(env.runtime.as_deref(), &session.join("state"));
    let imports = Imports(&env.caches, Some(&env.progress));
    let fetched = Arc::clone(&known.fetched);
    let done = solver::run((graph, env), (session, runtime, &fetched), (&imports, known))?;
    let export = |extent| export::records(graph, &done, &env.store, extent);
    let inline = env.inline_cache.then(|| export(Extent::Min)).transpose()?;
    let image = assemble::assemble((graph, env), &done, inline.map(|inline| inline.records))?;
    let caches = env.exports.iter().map(|extent| Ok((*extent, export(*extent)?)));
    let around = Around { store: &env.store, session, agent: env.credentials.ssh.get("default") };
    Ok(Solved {
        image,
        scans: match graph.scan.and_then(|scan| done.get(scan.0)) {
            Some(scan) => scanned::read(&env.store, &scan.chain)?,
            None => Vec::new(),
        },
        heights: assemble::heights(graph, &done),
        taken: if env.names_sources { fetched.identities(graph, around)? } else { Vec::new() },
        caches: caches.collect::<Result<_, Error>>()?,
    })
}
