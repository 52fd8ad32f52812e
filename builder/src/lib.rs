//! Builds, stores, moves and runs OCI images with no daemon and no root.
//!
//! Data flows from `cli` and `dockerfile` through `graph`, `solve` and `step` down to `store` and `sys`; a room names only
//! rooms further down (`tests/layering.rs` holds the table).

#![warn(missing_docs)]

pub mod attest;
pub mod bundle;
pub mod cli;
pub mod context;
pub mod diff;
pub mod dockerfile;
pub mod error;
pub mod graph;
pub mod image;
pub mod layer;
pub mod progress;
pub mod registry;
pub mod snapshot;
pub mod solve;
pub mod step;
pub mod store;
pub mod sys;
