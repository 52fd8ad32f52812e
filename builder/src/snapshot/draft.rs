//! A layer in the making: what a step writes, apart from what it stands on.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, fstat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

use super::layer::{Layer, Stack};
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
        View::writable(&self.below, &self.files, &self.work, &self.empty)
    }

    /// What is below, without what the step has written.
    ///
    /// # Errors
    /// The kernel's.
    pub fn below(&self) -> Result<View, Error> {
        View::read_only(&self.below)
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
