//! The directory that a layer is unpacked into, and the way to a place in it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};

use crate::error::{Error, Kind};
use crate::sys::root;

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// A directory tree, with the descriptors of the directories on the way to the last place that was asked for: the
/// members of a layer come in the order of a walk, so that most need no more than the last one.
pub(super) struct Tree<'a> {
    root: BorrowedFd<'a>,
    way: Vec<(OsString, OwnedFd)>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, way: Vec::new() }
    }

    pub(super) fn root(&self) -> BorrowedFd<'a> {
        self.root
    }

    /// The directory that holds `path`, made where it is missing. Links on the way are followed inside the tree.
    pub(super) fn parent(&mut self, path: &[OsString]) -> io::Result<Parent<'_>> {
        let above = path.get(..path.len().saturating_sub(1)).unwrap_or_default();
        let shared = self.way.iter().zip(above).take_while(|((known, _), name)| known == *name).count();
        self.way.truncate(shared);
        for name in above.get(shared..).unwrap_or_default() {
            let at = self.way.last().map_or(self.root, |(_, fd)| fd.as_fd());
            match self.step(at, name)? {
                Some(fd) => self.way.push((name.clone(), fd)),
                None => {
                    // Behind a link the names on the way say nothing about where we are.
                    self.way.clear();
                    let followed = root::make_dirs(self.root, &joined(above), |_, _, _| Ok(()))?;
                    return Ok(Parent::Followed(followed));
                }
            }
        }
        Ok(Parent::Walked(self.way.last().map_or(self.root, |(_, fd)| fd.as_fd())))
    }

    /// One component down, `None` for a link.
    fn step(&self, at: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<OwnedFd>> {
        for _ in 0..2 {
            match root::open_child(at, name, DIRECTORY) {
                Ok(fd) => return Ok(Some(fd)),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    mkdirat(at, name, Mode::from_bits_truncate(0o755))?;
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                    return if is_link(at, name)? { Ok(None) } else { Err(Errno::ENOTDIR.into()) };
                }
                Err(error) => return Err(error),
            }
        }
        Err(Errno::ENOENT.into())
    }
}

/// The directory that holds an entry.
pub(super) enum Parent<'a> {
    /// Reached by names alone.
    Walked(BorrowedFd<'a>),
    /// Reached through a link.
    Followed(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Walked(fd) => *fd,
            Self::Followed(fd) => fd.as_fd(),
        }
    }
}

/// The names of a path of an archive, without `.` and with `..` resolved. Links are not looked at: the same is done to the path in
/// Go's unpackers, before any link is met.
///
/// # Errors
/// Says that `what`, the path, leads out of the tree, or goes deeper than a tree may.
pub(super) fn components(path: &[u8], what: &str) -> Result<Vec<OsString>, Error> {
    let leaves = || Error::new(Kind::Attack, format!("{what} leads out of the directory"));
    let mut names = VecDeque::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop_back().ok_or_else(leaves)?),
            name => names.push_back(OsStr::from_bytes(name).to_owned()),
        }
    }
    if names.len() > root::DEEPEST {
        let text = format!("{what} goes more than {} directories deep", root::DEEPEST);
        return Err(Error::new(Kind::Unsupported, text));
    }
    Ok(names.into())
}

pub(super) fn joined(names: &[OsString]) -> PathBuf {
    Path::new("/").join(names.iter().collect::<PathBuf>())
}

/// What is there under this name, not following a link.
pub(super) fn stat(at: impl AsFd, name: &OsStr) -> io::Result<Option<FileStat>> {
    match fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The file type bits of what was found.
pub(super) fn kind(found: &FileStat) -> u32 {
    found.st_mode & libc::S_IFMT
}

/// An overlay's mark for a file that a lower layer has and this one has not: a character device 0:0.
pub(super) fn is_whiteout(found: &FileStat) -> bool {
    kind(found) == libc::S_IFCHR && found.st_rdev == 0
}

fn is_link(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    Ok(stat(at, name)?.is_some_and(|found| kind(&found) == libc::S_IFLNK))
}
