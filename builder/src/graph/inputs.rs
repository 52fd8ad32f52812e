//! What a build is given besides its Dockerfile.

use std::collections::{BTreeMap, BTreeSet};

use super::{Network, Scanner};
use crate::image::{Config, Digest, Platform};
use crate::registry::Reference;

/// Everything from outside that decides the graph.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--target`: a stage's name or number.
    pub target: Option<String>,
    /// What the image is for.
    pub platform: Platform,
    /// What builds it.
    pub build_platform: Platform,
    /// Images that were resolved so far, by reference and platform.
    pub bases: BTreeMap<(String, String), Resolved>,
    /// `--build-context`.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--label`, laid over the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// `--network`: of every RUN that does not say otherwise.
    pub network: Network,
    /// `--add-host`.
    pub add_hosts: Vec<(String, String)>,
    /// `--allow`.
    pub allowed: BTreeSet<Entitlement>,
    /// `--no-cache` and `--no-cache-filter`.
    pub renew: Renew,
    /// `--timestamps`.
    pub timestamps: Timestamps,
    /// `--sbom`.
    pub scanner: Option<Scanner>,
}

impl Inputs {
    /// Nothing given: an image for `platform`, built on it.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self {
            build_args: BTreeMap::new(),
            target: None,
            build_platform: platform.clone(),
            platform,
            bases: BTreeMap::new(),
            contexts: BTreeMap::new(),
            labels: BTreeMap::new(),
            network: Network::Default,
            add_hosts: Vec::new(),
            allowed: BTreeSet::new(),
            renew: Renew::None,
            timestamps: Timestamps::Clamped,
            scanner: None,
        }
    }
}

/// An image that was looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Digest of the platform's manifest.
    pub manifest: Digest,
    /// Its config.
    pub config: Config,
}

/// An image that the graph cannot be made without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRequest {
    /// Its full name.
    pub reference: Reference,
    /// For which platform.
    pub platform: Platform,
}

impl BaseRequest {
    /// Where `Inputs::bases` has the answer.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (self.reference.to_string(), self.platform.to_string())
    }
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory on this machine; the command line knows which.
    Directory,
    /// `docker-image://`.
    Image(Reference),
}

/// A thing that a RUN may only do where the command line allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `network.host`.
    NetworkHost,
    /// `security.insecure`.
    SecurityInsecure,
}

/// Which stages do without kept results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renew {
    /// None of them.
    None,
    /// All of them.
    All,
    /// Those named.
    Stages(Vec<String>),
}

/// Which times files and image get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// `SOURCE_DATE_EPOCH`, or the base image's, so that the result is the same tomorrow.
    Clamped,
    /// As they come.
    Keep,
}
