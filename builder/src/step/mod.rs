//! One operation, carried out on the file system that it stands on.
//!
//! Everything was decided in the graph. Invariant: whatever a step does, it writes into its draft alone; paths of the
//! image are resolved inside the image.

mod agent;
mod copy;
mod devices;
mod interrupt;
mod links;
mod memory;
mod mode;
mod mounts;
mod place;
mod run;
mod shell;
mod workdir;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;

use crate::bundle::{DeviceRegistry, Limits, Runtime};
use crate::context::Tree;
use crate::error::{Error, Kind};
use crate::graph::{From, Node, Operation, Source};
use crate::progress::Step;
use crate::snapshot::{Draft, View};
use crate::store::Store;
use crate::sys::root;

pub use interrupt::Interrupt;

/// A tree, and the pattern that finds what is meant in it.
pub type FoundIn = (Arc<Tree>, String);

/// Told that a process failed, and how to open a shell in what it left; gives what the step ends with.
pub type Attend<'a> = dyn Fn(Error, &OpenShell<'_>) -> Error + Sync + 'a;

/// Opens a shell on a terminal, and waits for its end.
pub type OpenShell<'a> = dyn Fn(&File) -> Result<(), Error> + 'a;

/// What a step works with.
pub struct Hands<'a> {
    /// Where cache directories are.
    pub store: &'a Store,
    /// What runs processes, or why there is nothing: only a RUN needs it.
    pub runtime: &'a Result<Runtime, Error>,
    /// Finds the tree that files come from.
    pub tree: &'a (dyn Fn(&From) -> Result<Arc<Tree>, Error> + Sync),
    /// Fetches what an address names.
    pub fetch: &'a (dyn Fn(&Source) -> Result<FoundIn, Error> + Sync),
    /// What the command line entrusts to steps.
    pub credentials: &'a Credentials,
    /// The devices of this machine.
    pub devices: &'a DeviceRegistry,
    /// What a process may use at most.
    pub limits: &'a Limits,
    /// Ends what runs when the build is given up.
    pub interrupt: &'a Interrupt,
    /// Who is told of a process that failed.
    pub attend: &'a Attend<'a>,
    /// Where output goes.
    pub progress: &'a Step,
}

/// What the command line entrusts to steps.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`: the agent's socket, by id.
    pub ssh: BTreeMap<String, PathBuf>,
}

/// Where a secret's value is.
#[derive(Clone)]
pub enum Secret {
    /// In a file.
    File(PathBuf),
    /// Here, from the environment.
    Value(Vec<u8>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value"),
        }
    }
}

impl Hands<'_> {
    fn runtime(&self) -> Result<&Runtime, Error> {
        self.runtime.as_ref().map_err(|error| Error::new(error.kind(), error.to_string()))
    }
}

/// Carries out a node's operation on a draft.
///
/// # Errors
/// Whatever went wrong; the draft is then to be dropped.
pub fn carry_out(node: &Node, draft: &Draft, hands: &Hands<'_>) -> Result<(), Error> {
    match &node.operation {
        Operation::Run(run) => run::run(run, draft, hands),
        Operation::Copy(copy) => copy::copy(copy, node.time, draft, hands),
        Operation::Workdir(workdir) => workdir::make(workdir, draft),
        Operation::Image(_) | Operation::Scratch => {
            Err(Error::new(Kind::Invalid, format!("{}: there is nothing to carry out", node.title)))
        }
    }
}

/// Puts everything of a file system into a directory outside; whoever does it owns it all.
///
/// # Errors
/// The file system's.
pub fn lay_out(view: View, into: &OwnedFd) -> std::io::Result<()> {
    let tree = Tree::view(view);
    let Some(root) = tree.root() else { return Ok(()) };
    let root = root::open(root, Path::new("/"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let rules = place::Rules { owner: Some((0, 0)), chmod: None, time: None, excludes: None };
    place::Placing::new(&tree, &rules, Path::new("")).content(&root, Path::new(""), into)
}
