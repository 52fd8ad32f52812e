//! The kernel calls of conformance that no safe crate offers.
//!
//! Invariant: `unsafe` appears nowhere else in the tool; descriptors come in borrowed and go out owned.
#![allow(unsafe_code, reason = "the one room that speaks to the kernel directly")]

pub(crate) mod bpf;
pub(crate) mod filter;
pub(crate) mod notify;
pub(crate) mod steps;
pub(crate) mod trace;
pub(crate) mod usage;

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

/// Receives one descriptor over a socket, as `--console-socket` and the seccomp listener send it. Closed on exec.
pub(crate) fn receive_descriptor(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    receive_message(socket).map(|(_, descriptor)| descriptor)
}

/// The same with the words that it comes with.
pub(crate) fn receive_message(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, OwnedFd)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut text = [0_u8; 4096];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut parts = [io::IoSliceMut::new(&mut text)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let count = message.bytes;
    let mut descriptor = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let [raw] = descriptors.as_slice()
        {
            // SAFETY: the kernel has just installed this descriptor for this message and nobody else holds it.
            descriptor = Some(unsafe { OwnedFd::from_raw_fd(*raw) });
        }
    }
    if let Some(descriptor) = descriptor {
        return Ok((text.get(..count).unwrap_or_default().to_vec(), descriptor));
    }
    Err(io::Error::other("the message carries no single descriptor"))
}

/// Gives a terminal another size.
pub(crate) fn resize(terminal: BorrowedFd<'_>, size: &libc::winsize) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call and the kernel reads exactly one winsize.
    let answer = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
