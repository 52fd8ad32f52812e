//! A stack of layers as one file system.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::layer::Layer;
use super::plain::{self, How};
use crate::error::Error;
use crate::store::{Store, Workspace};
use crate::sys::overlay::{self, Attributes, Layers};
use crate::sys::root;

/// A mount that nobody else sees, or a plain directory where one is enough; gone when dropped.
#[derive(Debug)]
pub struct View {
    root: Option<OwnedFd>,
    kind: Kind,
    place: Option<PathBuf>,
    /// Where a tree of links is, without overlays.
    _workspace: Option<Workspace>,
}

/// What its root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A mount of its own, which can be given a place.
    Mount,
    /// A directory of a layer, of which a mount has to be made first.
    Directory,
}

impl View {
    /// Several layers, to be read.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_only<L: AsFd>(store: &Store, stack: &[L]) -> Result<Self, Error> {
        let mut workspace = None;
        let (root, kind) = match stack {
            [] => (None, Kind::Directory),
            // The kernel refuses an overlay of one directory, which needs none.
            [only] => (Some(only.as_fd().try_clone_to_owned().map_err(failed)?), Kind::Directory),
            several => match mount(several.iter().map(AsFd::as_fd).collect(), None) {
                Ok(mount) => (Some(mount), Kind::Mount),
                Err(failed) => {
                    plain::instead_of(failed, store)?;
                    let held = workspace.insert(store.workspace()?);
                    (Some(plain::tree(&held.path().join("tree"), several, How::Links)?), Kind::Directory)
                }
            },
        };
        Ok(Self { root, kind, place: None, _workspace: workspace })
    }

    /// A directory that shows itself.
    pub(super) fn of_directory(root: OwnedFd) -> Self {
        Self { root: Some(root), kind: Kind::Directory, place: None, _workspace: None }
    }

    pub(super) fn writable(
        below: &[std::sync::Arc<Layer>],
        files: &OwnedFd,
        work: &OwnedFd,
        empty: &OwnedFd,
    ) -> Result<Self, Error> {
        let mut lower: Vec<BorrowedFd<'_>> = below.iter().map(|layer| layer.as_fd()).collect();
        if lower.is_empty() {
            lower.push(empty.as_fd());
        }
        let root = mount(lower, Some((files.as_fd(), work.as_fd())))?;
        Ok(Self { root: Some(root), kind: Kind::Mount, place: None, _workspace: None })
    }

    /// Its root directory; `None` for a file system of no layers.
    #[must_use]
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd)
    }

    /// Gives the file system a path, for a runtime that needs one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&mut self, place: &Path) -> Result<(), Error> {
        let doing = |error| Error::system(format!("mount a file system on {}", place.display()), error);
        fs::create_dir_all(place).map_err(doing)?;
        if let Some(root) = &mut self.root {
            if self.kind == Kind::Directory {
                *root = overlay::clone_tree(&*root).map_err(doing)?;
            }
            overlay::attach(root, root::open_dir(place).map_err(doing)?).map_err(doing)?;
            self.place = Some(place.to_owned());
        }
        Ok(())
    }
}

fn mount(
    lower: Vec<BorrowedFd<'_>>,
    upper: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
) -> Result<OwnedFd, Error> {
    let layers = Layers { lower, upper, attributes: Attributes::of_this_process() };
    overlay::overlay(&layers).map_err(failed)
}

fn failed(error: std::io::Error) -> Error {
    let errno = error.raw_os_error();
    let failed = Error::system("mount an overlay of layers", error);
    match errno {
        Some(libc::EPERM) => failed.hint("an ordinary user needs Linux 5.11 for it"),
        Some(libc::EINVAL) => {
            failed.hint("the store must be on a file system that can carry an overlay, not on one itself")
        }
        Some(libc::ENODEV) => failed.hint("this kernel has no overlayfs"),
        _ => failed,
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            // In our own mount namespace: at the latest it goes with it.
            drop(overlay::detach(&place.to_string_lossy()));
        }
    }
}
