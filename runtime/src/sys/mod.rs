//! Raw kernel calls that nix does not have: borrowed descriptors in, owned descriptors out, `io::Result`.
//!
//! Invariant: this is the only room with `unsafe`; every wrapper can be called with any argument without breaking memory
//! safety, and every descriptor that comes out closes on exec.

#![allow(unsafe_code)]

pub mod bpf;
pub mod caps;
pub mod clone;
pub mod command;
pub mod entry;
pub mod exec;
pub mod fds;
pub mod first;
pub mod keyring;
pub mod mempolicy;
pub mod missing;
pub mod mount;
pub mod net;
pub mod ns;
pub mod path;
pub mod pidfd;
pub mod process;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod staged;
pub mod tty;
mod walk;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The C convention: -1 means that errno tells why.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Takes over a descriptor that a successful call has just made.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(check(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor for us alone, nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
