//! What is known of a build, and how much of it is to be said.

use std::collections::{BTreeMap, BTreeSet};

use super::Sum;
use crate::graph::{Graph, NodeId};
use crate::image::Descriptor;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing that the command line may have confided: no build arguments, labels, steps, secrets' names.
    Min,
    /// Everything.
    Max,
}

/// Which version of the predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `https://slsa.dev/provenance/v1`.
    V1,
    /// `https://slsa.dev/provenance/v0.2`.
    V02,
}

/// How the provenance is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// How much is said.
    pub mode: Mode,
    /// In which version.
    pub version: Version,
    /// Who builds, as the caller says.
    pub builder_id: String,
    /// Whether the caller vouches for it.
    pub is_reproducible: bool,
    /// Whether it is an error when something of the build is not known by content.
    pub complete_materials: bool,
    /// The file in outputs that are no images; `None`: only images carry it.
    pub filename: Option<String>,
}

/// What the command line asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `build-arg:NAME`, `label:NAME`, `target`, `context:NAME` and so on.
    pub args: BTreeMap<String, String>,
    /// Directories of this machine that the build may take from.
    pub locals: BTreeSet<String>,
    /// The context, where it is an address, and what was there.
    pub context: Option<Source>,
    /// The repository that the context is a checkout of: `source`, its address, and `revision`.
    pub vcs: BTreeMap<String, String>,
    /// Further contexts that came from addresses.
    pub contexts: Vec<Source>,
    /// Name and text of the Dockerfile.
    pub dockerfile: (String, String),
    /// When it was, if that is to be said.
    pub times: Option<Times>,
}

/// What makes one build another than the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub finished: String,
    /// A name that no other build has.
    pub id: String,
}

/// An address, and what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub uri: String,
    /// The content that it gave.
    pub sum: Sum,
}

/// A build as it was.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What was done.
    pub graph: &'a Graph,
    /// The addresses that its steps took from.
    pub sources: &'a [Source],
    /// How many layers of the image are there after each node that the image stands on.
    pub heights: &'a BTreeMap<NodeId, usize>,
    /// The layers of the image.
    pub layers: &'a [Descriptor],
    /// What was asked for.
    pub request: &'a Request,
}
