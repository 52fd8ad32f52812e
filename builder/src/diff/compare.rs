//! Whether a directory of the upper layer says anything that the one below does not.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstatat};

use super::walk::Clamp;
use crate::sys::{overlay::Attributes, xattr};

/// The object of this name, a link itself; `None` when there is none.
pub(super) fn stat(at: &OwnedFd, name: &OsStr) -> io::Result<Option<FileStat>> {
    match fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The attributes that a layer carries: capabilities and the user's own, none of the overlay's.
pub(super) fn xattrs(at: impl AsFd, name: &OsStr) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    Ok(of_layer(xattr::list(at, name)?))
}

/// Of all attributes, those.
pub(super) fn of_layer(mut found: Vec<(OsString, Vec<u8>)>) -> Vec<(OsString, Vec<u8>)> {
    found.retain(|(key, _)| {
        let key = key.as_bytes();
        key == b"security.capability" || (key.starts_with(b"user.") && !key.starts_with(b"user.overlay."))
    });
    found
}

/// Whether the directory hides all that lies below it.
pub(super) fn is_opaque(at: &OwnedFd, name: &OsStr, attributes: Attributes) -> io::Result<bool> {
    Ok(xattr::get(at, name, attributes.opaque())?.as_deref() == Some(b"y"))
}

/// A directory that is there on both sides: its own attributes only.
pub(super) fn same_directory(
    upper: (&OwnedFd, &FileStat),
    lower: (&OwnedFd, &FileStat),
    name: &OsStr,
    clamp: Clamp,
) -> io::Result<bool> {
    let (above, below) = (upper.1, lower.1);
    let owners = (above.st_uid, above.st_gid, above.st_mode) == (below.st_uid, below.st_gid, below.st_mode);
    // A time later than the clamp only says that something was written, which the entries say themselves.
    let times = match clamp {
        Clamp::Keep => above.st_mtime == below.st_mtime,
        Clamp::To(latest) => above.st_mtime == below.st_mtime || above.st_mtime > latest,
    };
    Ok(owners && times && xattrs(upper.0, name)? == xattrs(lower.0, name)?)
}
