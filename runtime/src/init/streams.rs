//! Standard streams that are the null device become the container's own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev};

use crate::error::Error;
use crate::plan::devices::Null;
use crate::sys::{fds, path};

/// The host's device has no name in the container: whoever looks for the file behind the stream (CRIU, a label, a program that opens
/// /proc/self/fd/0 again) would find nothing. Where the container has no null device that opens, the host's stays, as with runc.
pub fn replace_null(proc: &OwnedFd, root: &OwnedFd, lies: Null) -> Result<(), Error> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let null = |stream: &&std::os::fd::BorrowedFd<'_>| fstat(stream).is_ok_and(|found| is_null(&found));
    let mut streams = streams.iter().filter(null).peekable();
    if streams.peek().is_none() {
        return Ok(());
    }
    let own = match lies {
        Null::Made => made_null(root),
        Null::Unknown => own_null(proc, root),
    };
    let Some(own) = own else { return Ok(()) };
    for stream in streams {
        let number = stream.as_raw_fd();
        fds::replace_stdio(&own, number)
            .map_err(|source| Error::system(format!("put /dev/null on descriptor {number}"), source))?;
    }
    super::fds::leave(own);
    Ok(())
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
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
        && found.st_rdev == makedev(1, 3)
}
