//! Snapshots: one directory of files per layer, in the form of an overlay's lower directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::temporary::remove_tree;
use super::{Key, Store};
use crate::error::Error;

impl Store {
    /// The directory of files of a snapshot, which exists if `has_snapshot` says so.
    pub fn snapshot_path(&self, key: &Key) -> PathBuf {
        self.path("snapshots").join(key.as_str()).join("fs")
    }

    /// Whether the snapshot is here.
    pub fn has_snapshot(&self, key: &Key) -> bool {
        self.snapshot_path(key).is_dir()
    }

    /// A directory of one's own inside the store, removed when dropped, that can become a snapshot.
    pub fn workspace(&self) -> Result<Workspace, Error> {
        let (path, lock) = self.temporary_directory()?;
        Ok(Workspace { store: self.clone(), path: Some(path), _lock: lock })
    }

    /// Removes a snapshot. It leaves its name first, so that a half-removed one is never seen; what is of other owners the sweep removes
    /// in the user namespace.
    pub(super) fn remove_snapshot(&self, key: &Key) -> Result<(), Error> {
        let path = self.path("snapshots").join(key.as_str());
        let doing = || format!("remove {}", path.display());
        let (trash, _lock) = self.temporary_directory()?;
        let inside = trash.join("snapshot");
        fs::rename(&path, &inside).map_err(|error| Error::system(doing(), error))?;
        remove_tree(&trash).map_err(|error| Error::system(doing(), error))
    }
}

/// A temporary directory in the store, on the same file system as the snapshots.
#[derive(Debug)]
pub struct Workspace {
    store: Store,
    path: Option<PathBuf>,
    _lock: File,
}

impl Workspace {
    /// The directory. What is to become a snapshot goes in `fs` below it.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Makes `directory`, a child of `path()` on the same file system, the snapshot `key`. If another was faster, its
    /// result stands: the same key means the same content. Ours may be in use by mounts and stays as long as the
    /// workspace does.
    pub fn commit(&self, directory: &Path, key: &Key) -> Result<(), Error> {
        let home = self.store.path("snapshots").join(key.as_str());
        let doing = || format!("store snapshot {key}");
        let whole = self.path().join(key.as_str());
        fs::create_dir(&whole).map_err(|error| Error::system(doing(), error))?;
        fs::rename(directory, whole.join("fs")).map_err(|error| Error::system(doing(), error))?;
        match fs::rename(&whole, &home) {
            Err(error) if is_taken(&error) => Ok(()),
            renamed => renamed.map_err(|error| Error::system(doing(), error)),
        }
    }
}

/// What rename says when the target is a directory with something in it.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            drop(remove_tree(&path)); // otherwise the next sweep does it
        }
    }
}
