//! A layer in the making: what a step writes, apart from what it stands on.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, fstat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

use super::layer::{Layer, Stack};
use super::plain::{self, Facts, How};
use super::view::View;
use crate::error::Error;
use crate::store::{Store, Workspace};
use crate::sys::root;

/// Removed with all that was written when dropped before it is sealed.
#[derive(Debug)]
pub struct Draft {
    files: OwnedFd,
    work: OwnedFd,
    empty: OwnedFd,
    below: Stack,
    store: Store,
    /// Without overlays: the tree that the step writes, and what was in it.
    copy: Mutex<Option<(OwnedFd, Facts)>>,
    workspace: Workspace,
}

impl Draft {
    /// An empty layer above `below`.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(store: &Store, below: Stack) -> Result<Self, Error> {
        let workspace = store.workspace()?;
        let make = |name: &str, mode: u32| {
            let path = workspace.path().join(name);
            fs::DirBuilder::new()
                .mode(mode)
                .create(&path)
                .and_then(|()| root::open_dir(&path))
                .map_err(|error| Error::system(format!("make {}", path.display()), error))
        };
        let draft = Self {
            files: make("fs", 0o755)?,
            work: make("work", 0o700)?,
            empty: make("empty", 0o755)?,
            below,
            store: store.clone(),
            copy: Mutex::default(),
            workspace,
        };
        draft
            .inherit_root()
            .map_err(|errno| Error::system("prepare the root directory of a layer", errno))?;
        Ok(draft)
    }

    /// The root directory of an overlay has the attributes of its upper directory: those of the layer below are
    /// to be seen until the step changes them.
    fn inherit_root(&self) -> nix::Result<()> {
        let Some(below) = self.below.last() else {
            return fchmodat(&self.files, ".", Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink);
        };
        let found = fstat(below.as_fd())?;
        let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
        fchownat(&self.files, ".", Some(uid), Some(gid), AtFlags::empty())?;
        let mode = Mode::from_bits_truncate(found.st_mode & 0o7777);
        fchmodat(&self.files, ".", mode, FchmodatFlags::FollowSymlink)?;
        let time = TimeSpec::new(found.st_mtime, found.st_mtime_nsec);
        utimensat(&self.files, ".", &time, &time, UtimensatFlags::FollowSymlink)
    }

    /// The whole file system, writable: what is below, and what the step has written.
    ///
    /// # Errors
    /// The kernel's.
    pub fn view(&self) -> Result<View, Error> {
        match View::writable(&self.below, &self.files, &self.work, &self.empty) {
            Err(failed) => plain::instead_of(failed, &self.store)?,
            view => return view,
        }
        let doing = |error| Error::system("put layers together", error);
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = match &*copy {
            Some((tree, _)) => tree.try_clone().map_err(doing)?,
            None => {
                let mut stack: Vec<BorrowedFd<'_>> = self.below.iter().map(|layer| layer.as_fd()).collect();
                // The root directory is like the upper one, where there is nothing below too.
                stack.push(self.files.as_fd());
                let tree = plain::tree(&self.copy_path(), &stack, How::Copies)?;
                let facts = plain::record(&tree).map_err(doing)?;
                let again = tree.try_clone().map_err(doing)?;
                *copy = Some((tree, facts));
                again
            }
        };
        Ok(View::of_directory(tree))
    }

    fn copy_path(&self) -> PathBuf {
        self.workspace.path().join("tree")
    }

    /// The step is done: what it wrote elsewhere becomes the layer's.
    ///
    /// # Errors
    /// The file system's.
    pub fn settle(&self) -> Result<(), Error> {
        let copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((tree, facts)) = copy else { return Ok(()) };
        plain::collect(&tree, &facts, &self.files).map_err(|error| {
            let errno = error.raw_os_error();
            let failed = Error::system("note what the step changed", error);
            match errno {
                Some(libc::EPERM | libc::EOPNOTSUPP) => failed.hint(
                    "a deletion is a device node of number 0 in the store: that needs Linux 5.8, and a store that is not on an overlay",
                ),
                _ => failed,
            }
        })?;
        drop(tree);
        let path = self.copy_path();
        root::open_dir(self.workspace.path())
            .and_then(|workspace| root::remove(workspace, path.file_name().unwrap_or_default()))
            .map_err(|error| Error::system(format!("remove {}", path.display()), error))
    }

    /// What is below, without what the step has written.
    ///
    /// # Errors
    /// The kernel's.
    pub fn below(&self) -> Result<View, Error> {
        View::read_only(&self.store, &self.below)
    }

    /// What the step has written.
    #[must_use]
    pub fn files(&self) -> &OwnedFd {
        &self.files
    }

    /// A directory for files that must not outlive the step.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        self.workspace.path()
    }

    /// Nothing is written any more.
    #[must_use]
    pub fn seal(self) -> Layer {
        Layer::sealed(self.files, self.workspace)
    }
}
