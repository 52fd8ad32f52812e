//! Namespaces: entering, leaving, asking whose they are.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{check, owned};

/// Enters the namespaces of these kinds behind a namespace's or a process' descriptor, all or none.
pub fn enter(target: impl AsFd, flags: i32) -> io::Result<()> {
    // SAFETY: two integers.
    check(unsafe { libc::setns(target.as_fd().as_raw_fd(), flags) }.into()).map(drop)
}

/// Leaves the shared namespaces of these kinds for new ones.
pub fn unshare(flags: i32) -> io::Result<()> {
    let allowed = flags & !(libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD);
    // SAFETY: one integer, without the flags that could split threads from their memory.
    check(unsafe { libc::unshare(allowed) }.into()).map(drop)
}

/// The user namespace that owns a namespace. EPERM: it is outside of the caller's.
pub fn owner(namespace: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: this request takes no argument.
    owned(unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), libc::NS_GET_USERNS) }.into())
}
