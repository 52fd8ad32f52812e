//! Layers put together as the overlay would show them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, fstatat, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, fchownat, linkat, symlinkat};

use crate::sys::overlay::Attributes;
use crate::sys::{reflink, root, xattr};

/// What an object of a layer becomes in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snapshot) enum How {
    /// The same object under another name: for trees that are only read.
    Links,
    /// One of its own, which shares blocks where the file system can. Names of one object become several, as when an overlay
    /// copies one of them up.
    Copies,
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// Puts everything of a stack, lowest first, into an empty directory.
pub(in crate::snapshot) fn merge<L: AsFd>(stack: &[L], into: &OwnedFd, how: How) -> io::Result<()> {
    let layers =
        stack.iter().rev().map(|layer| layer.as_fd().try_clone_to_owned()).collect::<io::Result<Vec<_>>>()?;
    directory(&layers, into, how)?;
    match layers.first() {
        Some(top) => like(into, OsStr::new("."), &Described::of(top, OsStr::new("."))?),
        None => Ok(()),
    }
}

/// What a name means in several layers.
enum Meaning {
    Object(usize),
    /// The directories that are seen through each other, the topmost first.
    Directory(Vec<OwnedFd>),
}

/// The content of one directory, which `layers` have, the topmost first.
fn directory(layers: &[OwnedFd], into: &OwnedFd, how: How) -> io::Result<()> {
    let mut meanings: BTreeMap<OsString, Meaning> = BTreeMap::new();
    // Names below which nothing more is seen.
    let mut closed = BTreeSet::new();
    for (depth, layer) in layers.iter().enumerate() {
        for name in root::names(layer)? {
            if closed.contains(&name) {
                continue;
            }
            let found = fstatat(layer, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if kind(&found) == SFlag::S_IFDIR {
                let inside = root::open_child(layer, &name, DIRECTORY)?;
                if is_opaque(layer, &name)? {
                    closed.insert(name.clone());
                }
                match meanings.entry(name).or_insert_with(|| Meaning::Directory(Vec::new())) {
                    Meaning::Directory(list) => list.push(inside),
                    Meaning::Object(_) => {}
                }
                continue;
            }
            let is_mark = kind(&found) == SFlag::S_IFCHR && found.st_rdev == 0;
            closed.insert(name.clone());
            if !is_mark && !meanings.contains_key(&name) {
                meanings.insert(name, Meaning::Object(depth));
            }
        }
    }
    for (name, meaning) in meanings {
        match meaning {
            Meaning::Object(depth) => {
                if let Some(layer) = layers.get(depth) {
                    object(layer, into, (&name, how))?;
                }
            }
            Meaning::Directory(list) => subdirectory(&list, into, (&name, how))?,
        }
    }
    Ok(())
}

fn subdirectory(list: &[OwnedFd], into: &OwnedFd, (name, how): (&OsStr, How)) -> io::Result<()> {
    mkdirat(into, name, Mode::S_IRWXU)?;
    directory(list, &root::open_child(into, name, DIRECTORY)?, how)?;
    match list.first() {
        Some(top) => like(into, name, &Described::of(top, OsStr::new("."))?),
        None => Ok(()),
    }
}

fn object(layer: &OwnedFd, into: &OwnedFd, (name, how): (&OsStr, How)) -> io::Result<()> {
    if how == How::Links {
        match linkat(layer, name, into, name, LinkatFlags::empty()) {
            // As many names as the file system has room for: one of its own then.
            Err(Errno::EMLINK) => {}
            other => return Ok(other?),
        }
    }
    let described = Described::of(layer, name)?;
    let stat = &described.stat;
    match kind(stat) {
        SFlag::S_IFREG => {
            let from = File::from(root::open_child(layer, name, OFlag::O_RDONLY)?);
            let to = File::from(root::create_child(into, name, 0o600)?);
            reflink::copy(&from, &to, stat.st_size.unsigned_abs())?;
        }
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(layer, name)?.as_os_str(), into, name)?;
        }
        kind => mknodat(into, name, kind, Mode::S_IRUSR, stat.st_rdev)?,
    }
    like(into, name, &described)
}

/// What an object is like, besides its content.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) stat: FileStat,
    xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Described {
    /// Of a child, or by `.` of the directory itself.
    pub(super) fn of(at: &OwnedFd, name: &OsStr) -> io::Result<Self> {
        let stat = match name.as_bytes() {
            b"." => fstat(at)?,
            _ => fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW)?,
        };
        let mut xattrs = xattr::list(at, name)?;
        // Those of the layers' own form, and of the security modules, are the file system's.
        xattrs.retain(|(key, _)| {
            let key = key.as_bytes();
            key == b"security.capability" || (key.starts_with(b"user.") && !key.starts_with(b"user.overlay."))
        });
        Ok(Self { stat, xattrs })
    }
}

/// Makes an object that was made just now like another.
pub(super) fn like(at: &OwnedFd, name: &OsStr, described: &Described) -> io::Result<()> {
    let stat = &described.stat;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(at, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    for (key, value) in &described.xattrs {
        xattr::set(at, name, key, value)?;
    }
    if kind(stat) != SFlag::S_IFLNK {
        // After the owner, which clears set-id bits.
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        fchmodat(at, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    let time = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    Ok(utimensat(at, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

fn is_opaque(at: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    Ok(xattr::get(at, name, Attributes::of_this_process().opaque())?.as_deref() == Some(b"y"))
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT)
}
