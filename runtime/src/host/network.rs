//! A network namespace, made while init is at work.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::Error;
use crate::sys::ns;

/// This process is in it for that moment only.
pub fn make(proc: &OwnedFd) -> Result<OwnedFd, Error> {
    let own = current(proc)?;
    ns::unshare(libc::CLONE_NEWNET).map_err(|source| {
        let error = Error::system("make the network namespace", source);
        match error.errno() {
            Some(libc::ENOSPC) => error.hint("see the limits in /proc/sys/user"),
            _ => error,
        }
    })?;
    let made = current(proc);
    // In any case: hooks are run in the runtime's own.
    ns::enter(&own, libc::CLONE_NEWNET)
        .map_err(|source| Error::system("go back to the runtime's network namespace", source))?;
    // It goes with the others at the end of the process.
    std::mem::forget(own);
    made
}

fn current(proc: &OwnedFd) -> Result<OwnedFd, Error> {
    openat(proc, "self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open the network namespace", errno))
}
