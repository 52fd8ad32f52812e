//! How many descriptors a process may have.
//!
//! A shim holds seven for each process of its pod. What starts it may allow 1,024, as systemd does for programs that know only
//! select(2), and a container's own limit follows that: so the shim takes all it may, and hands on what it was given.

use std::io;
use std::sync::OnceLock;

use nix::errno::Errno;

static GIVEN: OnceLock<libc::rlimit> = OnceLock::new();

/// Allows this process as many descriptors as it may allow itself.
pub(crate) fn raise_descriptors() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live, writable rlimit.
    Errno::result(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    GIVEN.get_or_init(|| limit);
    set(&libc::rlimit { rlim_cur: limit.rlim_max, ..limit })
}

/// What a child is to have: nothing where it was never raised.
pub(super) fn given() -> Option<libc::rlimit> {
    GIVEN.get().copied()
}

/// Makes one system call and allocates nothing: for a child before its exec, too.
pub(super) fn set(limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: `limit` is a live rlimit, which is only read.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) })?;
    Ok(())
}
