//! Processes by descriptor: never another one that happens to get the same number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::missing::as_enosys;
use super::{check, owned};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// As a shell reports it: 128 and the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A descriptor of a process that exists.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: two integers.
    let opened = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) });
    opened.map_err(|source| as_enosys(source, libc::SYS_pidfd_open))
}

/// Sends a signal; 0 only asks whether it could.
pub fn signal(process: impl AsFd, signal: i32) -> io::Result<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    let fd = process.as_fd().as_raw_fd();
    // SAFETY: a null siginfo means that of kill(2).
    let sent = check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, null, 0) });
    sent.map(drop).map_err(|source| as_enosys(source, libc::SYS_pidfd_send_signal))
}

/// The same to a child that nobody has waited for yet: its number is its own still, and serves where the call is missing.
pub fn signal_child(process: impl AsFd, pid: i32, number: i32) -> io::Result<()> {
    match signal(process, number) {
        Err(source) if source.raw_os_error() == Some(libc::ENOSYS) => {
            // SAFETY: two integers.
            check(unsafe { libc::kill(pid, number) }.into()).map(drop)
        }
        other => other,
    }
}

/// A copy of a descriptor of that process, by its number there. EPERM: we may not look into it.
pub fn take(process: impl AsFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: three integers.
    let taken =
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_fd().as_raw_fd(), number, 0) });
    taken.map_err(|source| as_enosys(source, libc::SYS_pidfd_getfd))
}

/// Waits for the end of a child of ours, and takes it off the kernel's books.
pub fn wait(child: impl AsFd) -> io::Result<Exit> {
    let id = libc::id_t::try_from(child.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    loop {
        match wait_for(libc::P_PIDFD, id, libc::WEXITED) {
            Ok(Some((_, exit))) => return Ok(exit),
            Ok(None) => {}
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(source),
        }
    }
}

/// Takes any child that has ended off the books: its pid and how it ended.
pub fn reap_any() -> io::Result<Option<(i32, Exit)>> {
    wait_for(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG)
}

fn wait_for(kind: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<Option<(i32, Exit)>> {
    // SAFETY: siginfo_t is plain data for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one siginfo_t, which outlives the call.
    let result = unsafe { libc::waitid(kind, id, &raw mut info, options | libc::__WALL) };
    check(result.into())?;
    // SAFETY: waitid fills in the fields of a SIGCHLD, or leaves them all zero.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        _ => Exit::Signal(status),
    };
    Ok((pid != 0).then_some((pid, exit)))
}
