//! A directory whose changes are thrown away: for mounts that may be written, or that must not show everything.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::plain::{self, How};
use crate::error::Error;
use crate::store::{Store, Workspace};
use crate::sys::overlay::{self, Attributes, Layers};
use crate::sys::root;

/// The mount, and where its changes are; both gone when dropped.
#[derive(Debug)]
pub struct Scratch {
    root: OwnedFd,
    place: PathBuf,
    _workspace: Workspace,
}

impl Scratch {
    /// Mounts `below` on `place`, writable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn over(store: &Store, below: impl AsFd, place: &Path) -> Result<Self, Error> {
        let doing = |error| Error::system(format!("mount a writable view on {}", place.display()), error);
        let workspace = store.workspace()?;
        let make = |name: &str| {
            let path = workspace.path().join(name);
            fs::create_dir(&path).and_then(|()| root::open_dir(&path)).map_err(doing)
        };
        let (upper, work) = (make("fs")?, make("work")?);
        fs::create_dir_all(place).map_err(doing)?;
        let layers = Layers {
            lower: vec![below.as_fd()],
            upper: Some((upper.as_fd(), work.as_fd())),
            attributes: Attributes::of_this_process(),
        };
        let root = match overlay::overlay(&layers) {
            Ok(root) => root,
            Err(error) => {
                plain::instead_of(doing(error), store)?;
                plain::merge(&[below], &upper, How::Copies).map_err(doing)?;
                overlay::clone_tree(&upper).map_err(doing)?
            }
        };
        overlay::attach(&root, root::open_dir(place).map_err(doing)?).map_err(doing)?;
        Ok(Self { root, place: place.to_owned(), _workspace: workspace })
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // In our own mount namespace: at the latest it goes with it.
        drop(overlay::detach(&self.place.to_string_lossy()));
    }
}
