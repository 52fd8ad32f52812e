//! Coracle's OCI runtime. Data flows down this list of rooms, never up (`tests/layering.rs`).

pub mod bundle;
pub mod cli;
pub mod host;
pub mod init;
pub mod plan;
pub mod state;
pub mod sys;
pub mod wire;

pub mod error;
