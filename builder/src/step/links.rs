//! Objects with several names: they have several where they are put, too.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;
use nix::unistd::{LinkatFlags, linkat};

use crate::sys::root;

/// The directory whose content goes, by its path in the source, and the one that it goes into.
#[derive(Clone, Copy)]
pub(super) struct Top<'a> {
    pub(super) path: &'a Path,
    pub(super) into: &'a OwnedFd,
}

impl Top<'_> {
    /// The directory that holds what stands at `path` below this one. No link is on the way: the copy goes through none.
    fn parent(self, path: &Path) -> io::Result<OwnedFd> {
        let below = path.strip_prefix(self.path).unwrap_or(path).parent().unwrap_or(Path::new(""));
        below.iter().try_fold(self.into.try_clone()?, |at, name| {
            root::open_child(at, name, OFlag::O_PATH | OFlag::O_DIRECTORY)
        })
    }
}

/// Where each was put first, by its path in the source: a descriptor for each would be more than a process may have.
#[derive(Default)]
pub(super) struct Links(HashMap<(u64, u64), PathBuf>);

impl Links {
    /// Where the object was put under another name before.
    pub(super) fn first(&self, stat: &FileStat) -> Option<&Path> {
        let found = self.0.get(&(stat.st_dev, stat.st_ino));
        found.filter(|_| stat.st_nlink > 1).map(PathBuf::as_path)
    }

    /// The object is put at `path`.
    pub(super) fn note(&mut self, stat: &FileStat, path: &Path) {
        if stat.st_nlink > 1 {
            self.0.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
    }
}

/// Gives what was put at `first` one more name.
pub(super) fn link(top: Top<'_>, first: &Path, (into, name): (&OwnedFd, &OsStr)) -> io::Result<()> {
    let first_name = first.file_name().unwrap_or_default();
    Ok(linkat(top.parent(first)?, first_name, into, name, LinkatFlags::empty())?)
}
