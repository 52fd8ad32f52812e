//! Other processes by descriptor, and what is said where the kernel has no such descriptors: a bare number could be somebody else's
//! by the time it is used, so that nothing takes their place.

use std::os::fd::OwnedFd;

use crate::error::{Error, Kind};
use crate::sys::pidfd;

/// None where it has ended.
pub fn open(pid: i32) -> Result<Option<OwnedFd>, Error> {
    match pidfd::open(pid) {
        Ok(process) => Ok(Some(process)),
        Err(source) if source.raw_os_error() == Some(libc::ENOSYS) => Err(missing(pid, "pidfd_open", "5.3")),
        Err(source) if matches!(source.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => Ok(None),
        Err(source) => Err(Error::system(format!("open process {pid}"), source)),
    }
}

/// Whether a signal has found somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    Yes,
    HasEnded,
}

/// Sends a signal.
pub fn signal(process: &OwnedFd, pid: i32, signal: i32) -> Result<Reached, Error> {
    match pidfd::signal(process, signal) {
        Ok(()) => Ok(Reached::Yes),
        Err(source) => match source.raw_os_error() {
            Some(libc::ESRCH) => Ok(Reached::HasEnded),
            Some(libc::ENOSYS) => Err(missing(pid, "pidfd_send_signal", "5.1")),
            _ => Err(Error::system(format!("signal process {pid}"), source)),
        },
    }
}

fn missing(pid: i32, call: &str, since: &str) -> Error {
    let whose = "which the kernel or a seccomp filter around the runtime has not got";
    Error::new(
        Kind::Unsupported,
        format!("reach process {pid}: this needs {call}, of Linux {since}, {whose}"),
    )
}
