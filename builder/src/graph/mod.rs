//! From the syntax tree of a Dockerfile to the operations that build it, and what makes two of them the same.
//!
//! Pure: no file, no clock, no environment. What the Dockerfile refers to outside itself (base images, named
//! contexts, arguments) comes in through `Inputs`. Invariant: a node stands after everything that it needs, and
//! every node of a graph is needed by its result, or by the scan of it.

mod args;
mod config;
mod devices;
mod directory;
mod expose;
mod git;
mod history;
mod inputs;
mod key;
mod lower;
mod mounts;
mod needed;
mod operation;
mod path;
mod run;
mod scan;
mod show;
mod stage;
mod state;
mod time;
mod transfer;

use crate::image::{Config, Platform};

pub use args::PLATFORM_ARGS;
pub use git::{GitAddress, file_name, repository};
pub use history::COMMENT as HISTORY_COMMENT;
pub use inputs::{BaseRequest, Entitlement, Inputs, NamedContext, Renew, Resolved, Timestamps};
pub use key::{Taken, key};
pub use lower::{Lowered, Lowering, lower};
pub use operation::{
    Access, Base, Copy, Credential, DestKind, Device, From, Git, Inline, Mount, MountKind, Network,
    Operation, Run, Security, Sharing, Source, Unpack, Workdir,
};
pub use scan::{RESULT_SCAN, SCANNED, Scanner};
pub use show::show;

/// Position of a node in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// The operations of one build for one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Inputs first.
    pub nodes: Vec<Node>,
    /// The node whose file system is the image.
    pub result: NodeId,
    /// The node that leaves the lists of what the image contains in `SCANNED`.
    pub scan: Option<NodeId>,
    /// The image's config: complete but for `created`, the layers of this build and its own part of the history.
    pub config: Config,
    /// What this build adds to the history, oldest first.
    pub history: Vec<HistoryEntry>,
    /// For what the image is.
    pub platform: Platform,
    /// Seconds since 1970 that `created` and the history get; `None`: the time of the build.
    pub time: Option<i64>,
}

impl Graph {
    /// How many of the image's layers, from the lowest, are of the image that it is built on.
    #[must_use]
    pub fn base_layers(&self) -> usize {
        let mut at = Some(self.result);
        while let Some(node) = at.and_then(|id| self.nodes.get(id.0)) {
            if let Operation::Image(base) = &node.operation {
                return base.diff_ids.len();
            }
            at = node.base;
        }
        0
    }
}

/// A line of the image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The instruction.
    pub created_by: String,
    /// The node that made the layer; `None`, or a node without changes: the entry has no layer.
    pub node: Option<NodeId>,
}

/// One operation and what it stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its position in the graph.
    pub id: NodeId,
    /// One line for people: `[build 2/5] RUN make`.
    pub title: String,
    /// Name of the stage, or its number.
    pub stage: String,
    /// What is done.
    pub operation: Operation,
    /// The file system that it is done on; `None` for images and scratch.
    pub base: Option<NodeId>,
    /// Every node whose result it needs, `base` first, each once.
    pub inputs: Vec<NodeId>,
    /// The line of the instruction, from 1.
    pub line: usize,
    /// Seconds since 1970 that files written by the builder get, and the latest that a RUN's keep; `None`: any.
    pub time: Option<i64>,
    /// Whether a kept result may stand in.
    pub cache: CacheUse,
}

/// Whether a kept result may stand in for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// Yes.
    Use,
    /// No: `--no-cache`, or the stage is named by `--no-cache-filter`. The result is still kept.
    Renew,
}
