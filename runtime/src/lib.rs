//! Coracle's OCI runtime. Data flows down this list of rooms, never up (`tests/layering.rs`).

pub mod plan;

pub mod error;
