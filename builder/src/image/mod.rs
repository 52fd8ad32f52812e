//! Images: config, manifest and index, and how they come into the store and leave it.
//!
//! Invariant: a manifest that is served from here has its config and every layer in the store, each verified.

mod config;
mod name;

pub use crate::store::{Descriptor, Digest, Platform};
pub use config::{Config, Execution, Healthcheck, History, RootFs};
pub use name::{resolve, tag};
