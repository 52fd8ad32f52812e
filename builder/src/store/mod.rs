//! What is kept on disk: an OCI image layout, with snapshots and a database of cache keys beside it (STORE.md).
//!
//! Invariant: every file and directory appears under its final name complete and verified, or not at all, whoever
//! else writes at the same time and whenever the writer is killed.

mod blobs;
mod boot;
mod descriptor;
mod digest;
mod gc;
mod hashes;
mod index;
mod keys;
mod lock;
mod place;
mod snapshots;
mod temporary;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

pub use blobs::BlobWriter;
pub use descriptor::{Descriptor, Platform, media};
pub(crate) use digest::is_hex;
pub use digest::{Digest, Hashed, Hasher};
pub use gc::{Freed, Policy};
pub use index::{NAME, Tagged};
pub use keys::{Key, Record};
pub use lock::Lock;
pub use place::default_root;
pub use snapshots::Workspace;

/// A store in one directory. Clones of it, and other processes, may use it at the same time.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }
}

/// Go writes `null` for an empty list, map or string.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}
