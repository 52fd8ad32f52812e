//! The cases, one file a topic, each file with its table.
//!
//! Invariant: a case asserts what a user or an engine can observe, through the runtime's command line and the probe alone.

mod errors;
mod exec;
mod lifecycle;
mod mounts;
mod process;

use crate::case::Case;

/// All tables, in the order of a container's life.
pub(crate) const ALL: &[&[Case]] = &[lifecycle::CASES, process::CASES, mounts::CASES, exec::CASES, errors::CASES];
