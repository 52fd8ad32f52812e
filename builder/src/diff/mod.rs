//! What a step changed, read from an overlay's upper directory: the tree itself is never scanned.
//!
//! Invariant: the layer depends on the files alone; names are sorted, times are clamped, and a directory that only
//! happened to be copied up is not in it.

mod compare;
mod walk;

pub use walk::{Change, Clamp, is_empty, pack, walk, write};
