//! One layer's directory, held by descriptor: it may get its final name while it is in use.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::error::Error;
use crate::store::{Key, Store, Workspace};
use crate::sys::root;

/// A sealed directory of files, in the form of an overlay's lower directory.
#[derive(Debug)]
pub struct Layer {
    directory: OwnedFd,
    /// A directory that has no name in the store yet lives here.
    workspace: Option<Workspace>,
}

/// Layers, lowest first.
pub type Stack = Vec<Arc<Layer>>;

impl Layer {
    /// The snapshot of this name.
    ///
    /// # Errors
    /// The file system's, also when there is no such snapshot.
    pub fn stored(store: &Store, key: &Key) -> Result<Self, Error> {
        let path = store.snapshot_path(key);
        let directory = root::open_dir(&path)
            .map_err(|error| Error::system(format!("open snapshot {}", path.display()), error))?;
        Ok(Self { directory, workspace: None })
    }

    pub(super) fn sealed(directory: OwnedFd, workspace: Workspace) -> Self {
        Self { directory, workspace: Some(workspace) }
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Gives a new layer its name in the store, for this build and later ones.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, store: &Store, key: &Key) -> Result<(), Error> {
        match &self.workspace {
            // Mounts of this build may show our directory: when another is there already, ours stays where it is.
            Some(workspace) if !store.has_snapshot(key) => {
                workspace.commit(&workspace.path().join("fs"), key)
            }
            _ => Ok(()),
        }
    }
}

impl AsFd for Layer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
