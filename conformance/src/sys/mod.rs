//! The kernel calls of conformance that no safe crate offers.
//!
//! Invariant: `unsafe` appears nowhere else in the tool; descriptors come in borrowed and go out owned.
#![allow(unsafe_code, reason = "the one room that speaks to the kernel directly")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A descriptor of process `pid`, readable when it has ended. Closed on exec.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: two integers; the kernel touches no memory of ours.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let raw = i32::try_from(answer).map_err(io::Error::other)?;
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Signals the process behind `pidfd`: never another one that was given its number.
pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call; a null siginfo means that of kill(2).
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
