//! From the syntax tree of a Dockerfile to the operations that build it, and what makes two of them the same.
//!
//! Pure: no file, no clock, no environment. What the Dockerfile refers to outside itself (base images, named
//! contexts, arguments) comes in through `Inputs`. Invariant: a node stands after everything that it needs, and
//! every node of a graph is needed by its result.

mod operation;

pub use operation::{
    Access, Base, Copy, Credential, DestKind, From, Git, Inline, Mount, MountKind, Network, Operation, Run,
    Security, Sharing, Source, Unpack, Workdir,
};

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
    /// Where the instruction stands, counted from 1.
    pub line: usize,
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
