//! File systems of steps: directories of the store, stacked by the kernel's overlay, or copied where there is none.
//!
//! Invariant: a layer's directory is never written once it is sealed, and a mount lives no longer than the value
//! that stands for it.

mod draft;
mod image;
mod layer;
mod plain;
mod scratch;
mod view;

pub use draft::Draft;
pub use image::{Wanted, open as open_layers};
pub use layer::{Layer, Stack};
pub use plain::in_use as works_on_copies;
pub use scratch::Scratch;
pub use view::View;
