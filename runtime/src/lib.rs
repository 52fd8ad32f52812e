//! Coracle's OCI runtime. Data flows down this list of rooms, never up (`tests/layering.rs`).

pub mod cli;
pub mod bundle;
pub mod plan;
pub mod host;
pub mod wire;
pub mod init;
pub mod state;
pub mod sys;

pub mod error;
