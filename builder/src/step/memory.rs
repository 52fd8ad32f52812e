//! A directory in memory, for what must never be on a disk.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::sys::overlay;

/// Only this builder's mount namespace has it; gone when dropped.
#[derive(Debug)]
pub(super) struct Memory(PathBuf);

impl Memory {
    /// Mounts it at `place`, which is made.
    pub(super) fn at(place: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o700).create(&place)?;
        overlay::tmpfs(&place.to_string_lossy())?;
        Ok(Self(place))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // At the latest it goes with the mount namespace.
        drop(overlay::detach(&self.0.to_string_lossy()));
    }
}
