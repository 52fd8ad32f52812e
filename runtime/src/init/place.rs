//! Where something goes in the container's root: found, or made on the way.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat, mknodat};

use super::fds;
use crate::sys::path::open_in;

/// What has to be made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
}

/// Whether it was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Found,
    Made,
}

/// A place that is open (`O_PATH`).
#[derive(Debug)]
pub struct Place {
    pub fd: OwnedFd,
    pub origin: Origin,
}

/// Opens `path` in `root`; makes it and the directories above it where they are missing. Dangling links are followed within the
/// root, as an image may well have /etc/mtab or /var/run point to what only exists later.
pub fn open(root: &OwnedFd, path: &Path, kind: Kind) -> io::Result<Place> {
    match open_in(root, path, OFlag::O_PATH) {
        Ok(fd) => Ok(Place { fd, origin: Origin::Found }),
        Err(source) if source.raw_os_error() == Some(libc::ENOENT) => match make_last(root, path, kind)? {
            Some(fd) => Ok(Place { fd, origin: Origin::Made }),
            None => make(root, path, kind),
        },
        Err(source) => Err(source),
    }
}

/// What is nearly always the case: only the last part is missing. None where it is more than that, or a dangling link.
fn make_last(root: &OwnedFd, path: &Path, kind: Kind) -> io::Result<Option<OwnedFd>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let dir = match open_in(root, parent, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(dir) => dir,
        Err(source) if source.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(source) => return Err(source),
    };
    let made = match make_new(&dir, name, kind) {
        Err(Errno::EEXIST) => None,
        other => Some(other?),
    };
    fds::leave(dir);
    Ok(made)
}

/// The kernel's own limit for links in one path (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

fn make(root: &OwnedFd, path: &Path, kind: Kind) -> io::Result<Place> {
    let mut rest = parts(path);
    let mut reached = PathBuf::from("/");
    let mut here = open_in(root, &reached, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        let next = reached.join(&name);
        match open_in(root, &next, OFlag::O_PATH) {
            Ok(fd) => {
                here = fd;
                reached = next;
                continue;
            }
            Err(source) if source.raw_os_error() == Some(libc::ENOENT) => {}
            Err(source) => return Err(source),
        }
        match link_target(&here, &name)? {
            Some(_) if links == MOST_LINKS => return Err(io::Error::from_raw_os_error(libc::ELOOP)),
            Some(target) => {
                links += 1;
                if target.is_absolute() {
                    reached = PathBuf::from("/");
                    here = open_in(root, &reached, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            None => {
                here = make_one(&here, &name, if rest.is_empty() { kind } else { Kind::Directory })?;
                reached = next;
            }
        }
    }
    Ok(Place { fd: here, origin: Origin::Made })
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

fn link_target(dir: &OwnedFd, name: &OsString) -> io::Result<Option<PathBuf>> {
    match readlinkat(dir, name.as_os_str()) {
        Ok(target) => Ok(Some(PathBuf::from(target))),
        Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Somebody else may have been first.
fn make_one(dir: &OwnedFd, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
    match make_new(dir, name, kind) {
        Err(Errno::EEXIST) => Ok(open_new(dir, name)?),
        other => Ok(other?),
    }
}

/// What lies on top of a place where something was just mounted. ESTALE: that is still the same file system, hence not the same
/// place, since somebody has renamed directories of the image meanwhile.
pub fn top(root: &OwnedFd, path: &Path, covered: libc::dev_t) -> io::Result<OwnedFd> {
    let top = open_in(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    match device(&top)? == covered {
        true => Err(Errno::ESTALE.into()),
        false => Ok(top),
    }
}

/// Which file system an open thing is on.
pub fn device(fd: &OwnedFd) -> io::Result<libc::dev_t> {
    Ok(fstat(fd)?.st_dev)
}

/// The same for a directory that nobody will look at.
pub fn make_directory(dir: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    mkdirat(dir, name, Mode::from_bits_truncate(0o755))
}

/// A single component relative to an open directory, and no link: nothing can lead this elsewhere.
pub fn make_new(dir: &OwnedFd, name: &OsStr, kind: Kind) -> nix::Result<OwnedFd> {
    make_kind(dir, name, kind)?;
    open_new(dir, name)
}

/// The same for what nobody will open.
pub fn make_kind(dir: &OwnedFd, name: &OsStr, kind: Kind) -> nix::Result<()> {
    match kind {
        Kind::Directory => make_directory(dir, name),
        Kind::File => mknodat(dir, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0),
    }
}

fn open_new(dir: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// Whether the open thing is a directory.
pub fn is_directory(fd: impl AsFd) -> io::Result<bool> {
    let mode = fstatat(fd, "", AtFlags::AT_EMPTY_PATH)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// The permission bits of the open thing.
pub fn mode(fd: impl AsFd) -> io::Result<u32> {
    Ok(fstatat(fd, "", AtFlags::AT_EMPTY_PATH)?.st_mode & 0o7777)
}
