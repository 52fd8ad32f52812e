//! Which descriptors init has, and which the program gets.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::error::{Error, Kind};
use crate::sys::fds;

/// Closes whatever is neither a standard stream, nor preserved, nor in `keep`: the runtime's, and what leaked into it. `proc` is the
/// host's, which may be among what is closed.
pub fn close_foreign(proc: &OwnedFd, preserved: u32, keep: &mut [RawFd]) -> Result<(), Error> {
    keep.sort_unstable();
    let lowest = preserved.saturating_add(3);
    let closed = match close_between(lowest, keep) {
        Err(source) if source.raw_os_error() == Some(libc::ENOSYS) => fds::close_listed(proc, lowest, keep),
        other => other,
    };
    closed.map_err(|source| Error::system("close descriptors", source))
}

fn close_between(lowest: u32, keep: &[RawFd]) -> std::io::Result<()> {
    let mut first = lowest;
    for fd in keep.iter().map(|fd| fd.cast_unsigned()) {
        if fd > first {
            fds::close_range(first, fd - 1)?;
        }
        first = first.max(fd.saturating_add(1));
    }
    fds::close_range(first, u32::MAX)
}

/// Lets execve pass on the preserved descriptors, and nothing else: all others close on exec from birth.
pub fn pass_preserved(preserved: u32) -> Result<(), Error> {
    for fd in 3..preserved.saturating_add(3) {
        fds::keep(fd).map_err(|_| {
            let text = format!("unable to keep file descriptor {fd}: it is not open");
            Error::new(Kind::Invalid, text).hint("--preserve-fds counts from 3")
        })?;
    }
    Ok(())
}

/// Of so many no table is ever short.
const FEW: RawFd = 512;

/// Init's descriptors are closed together by `close_foreign` at the end, not one by one: two hundred system calls less.
pub fn leave(fd: OwnedFd) {
    if fd.as_raw_fd() < FEW {
        std::mem::forget(fd);
    }
}
