//! The side of a seccomp agent: calls that wait for an answer.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A call that somebody has made and waits in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    id: u64,
    pub(crate) number: i64,
}

/// The next one. ENOENT where nobody is left who could make one, which older kernels would wait for.
pub(crate) fn next(listener: BorrowedFd<'_>) -> io::Result<Call> {
    let mut waited = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut waited, PollTimeout::NONE)?;
    if hung_up(&waited) {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    // SAFETY: seccomp_notif is plain data for which all zeroes is a value, and what the kernel insists on.
    let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is borrowed for the call and the kernel writes one seccomp_notif.
    let got = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut request) };
    match got {
        0 => Ok(Call { id: request.id, number: request.data.nr.into() }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn hung_up(waited: &[PollFd<'_>]) -> bool {
    waited.iter().filter_map(PollFd::revents).any(|events| !events.contains(PollFlags::POLLIN))
}

/// Lets it fail with this errno.
pub(crate) fn refuse(listener: BorrowedFd<'_>, call: Call, errno: i32) -> io::Result<()> {
    answer(listener, libc::seccomp_notif_resp { id: call.id, val: 0, error: -errno, flags: 0 })
}

/// Lets the kernel carry it out.
pub(crate) fn allow(listener: BorrowedFd<'_>, call: Call) -> io::Result<()> {
    const CONTINUE: u32 = 1;
    answer(listener, libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: CONTINUE })
}

fn answer(listener: BorrowedFd<'_>, mut answer: libc::seccomp_notif_resp) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call and the kernel reads one seccomp_notif_resp.
    let sent = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
