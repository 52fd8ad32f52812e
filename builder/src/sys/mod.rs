//! Raw kernel calls: borrowed descriptors in, owned descriptors out.
//!
//! The one room where `unsafe` may stand. Invariant: every descriptor is close-on-exec from birth, and nothing here
//! knows what an image or a step is.
#![allow(unsafe_code)]

pub mod draft;
pub mod idmap;
pub mod interrupt;
pub mod netns;
pub mod overlay;
pub mod reflink;
mod removal;
pub mod root;
pub mod umask;
pub mod userns;
pub mod xattr;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A path by which the kernel finds the object behind a descriptor, `O_PATH` ones included.
#[must_use]
pub fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Turns the -1 of a raw system call into its error.
fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
