//! Images: config, manifest and index, and how they come into the store and leave it.
//!
//! Invariant: an image that `open` gives has its config and every layer in the store, each verified when it came.

mod cache;
mod config;
mod export;
mod find;
mod import;
mod manifest;
mod moved;
mod name;
mod pull;
mod push;
mod recompress;
mod stored;
mod summary;
mod whole;

pub use crate::store::{Descriptor, Digest, Platform};
pub use cache::{Cache, CachePlace, CacheRecords, INLINE, write_cache};
pub use config::{Config, Execution, Healthcheck, History, RootFs};
pub use export::{Format, save, save_directory};
pub use find::{Found, find};
pub use import::{Imported, Input, import, load};
pub use manifest::{Document, Index, Manifest};
pub use moved::{Moved, follow, moved, moved_between};
pub use name::{resolve, tag};
pub use pull::pull;
pub use push::{push, push_image};
pub use recompress::{in_compression, recompress};
pub use stored::{Image, open, open_descriptor, put};
pub use summary::{Summary, summary};
