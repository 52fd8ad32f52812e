//! Standard streams: those that are the null device become the container's own, the others its user's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev};
use nix::unistd::{Uid, fchown};

use crate::error::Error;
use crate::plan::devices::Null;
use crate::sys::{fds, path};

/// The host's null device has no name in the container: whoever looks for the file behind the stream (CRIU, a label, a program that
/// opens /proc/self/fd/0 again) would find nothing. Where the container has no null device that opens, the host's stays, as with runc.
pub fn make_own(proc: &OwnedFd, root: &OwnedFd, (lies, uid): (Null, u32)) -> Result<(), Error> {
    let mut null = None;
    each(&mut |stream, found| {
        if !is_null(found) {
            return give(stream, found, uid);
        }
        let own = null.get_or_insert_with(|| match lies {
            Null::Made => made_null(root),
            Null::Unknown => own_null(proc, root),
        });
        let Some(own) = own else { return Ok(()) };
        let number = stream.as_raw_fd();
        fds::replace_stdio(own, number)
            .map_err(|source| Error::system(format!("put /dev/null on descriptor {number}"), source))
    })?;
    if let Some(own) = null.flatten() {
        super::fds::leave(own);
    }
    Ok(())
}

/// Gives all to the user.
pub fn give_to(uid: u32) -> Result<(), Error> {
    each(&mut |stream, found| give(stream, found, uid))
}

/// Gives the pipes to the user. A file is somebody's on the host, and not the container's because its owner may read it there.
pub fn give_pipes_to(uid: u32) -> Result<(), Error> {
    each(&mut |stream, found| match kind(found) {
        SFlag::S_IFIFO => give(stream, found, uid),
        _ => Ok(()),
    })
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

/// Tells those that are open.
fn each(deed: &mut dyn FnMut(BorrowedFd<'_>, &FileStat) -> Result<(), Error>) -> Result<(), Error> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        if let Ok(found) = fstat(stream) {
            deed(stream, &found)?;
        }
    }
    Ok(())
}

/// A pipe or a file that an engine has passed can be opened again, as /dev/stdout, by nobody but its owner. What cannot be given away
/// stays: an owner that the user namespace does not know, a file system that is read-only.
fn give(stream: BorrowedFd<'_>, found: &FileStat, uid: u32) -> Result<(), Error> {
    if found.st_uid == uid || !matches!(kind(found), SFlag::S_IFIFO | SFlag::S_IFREG) {
        return Ok(());
    }
    match fchown(stream, Some(Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::EROFS) => Ok(()),
        Err(errno) => {
            Err(Error::system(format!("give descriptor {} to user {uid}", stream.as_raw_fd()), errno))
        }
    }
}

/// Nothing else can be there.
fn made_null(root: &OwnedFd) -> Option<OwnedFd> {
    let own = path::open_in(root, Path::new("/dev/null"), OFlag::O_RDWR).ok()?;
    fstat(&own).is_ok_and(|found| is_null(&found)).then_some(own)
}

/// Looked at before it is opened for use: an image's /dev may be anything when it was bound.
fn own_null(proc: &OwnedFd, root: &OwnedFd) -> Option<OwnedFd> {
    let found = path::open_in(root, Path::new("/dev/null"), OFlag::O_PATH).ok()?;
    if !fstat(&found).is_ok_and(|found| is_null(&found)) {
        return None;
    }
    let link = PathBuf::from(format!("self/fd/{}", found.as_raw_fd()));
    let own = openat(proc, &link, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).ok();
    super::fds::leave(found);
    own
}

fn is_null(found: &FileStat) -> bool {
    kind(found) == SFlag::S_IFCHR && found.st_rdev == makedev(1, 3)
}
