//! Looking at and reaping children.

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

/// A child that has ended, with the status a shell would show: its exit code, or 128 and the signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    pub(crate) pid: Pid,
    pub(crate) status: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    Any,
    Only(Pid),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keep {
    /// The zombie stays, and with it its process id: nobody else can get that number.
    Zombie,
    Nothing,
}

/// The next child that has ended, without waiting for one.
///
/// Not `nix::sys::wait`: it turns a death by a real-time signal into an error.
pub(crate) fn ended(whose: Whose, keep: Keep) -> io::Result<Option<Ended>> {
    let (kind, id) = match whose {
        Whose::Any => (libc::P_ALL, 0),
        Whose::Only(pid) => (libc::P_PID, libc::id_t::try_from(pid.as_raw()).unwrap_or(0)),
    };
    let mut flags = libc::WEXITED | libc::WNOHANG;
    if keep == Keep::Zombie {
        flags |= libc::WNOWAIT;
    }
    // SAFETY: siginfo_t is plain old data for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a live, writable siginfo_t; the other arguments are plain numbers.
    let result = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
    match Errno::result(result) {
        Ok(_) => {}
        Err(Errno::ECHILD) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    // SAFETY: waitid succeeded, so the child variant of the union is the one filled in (or all zeroes).
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let value = unsafe { info.si_status() };
    let value = u32::try_from(value).unwrap_or(255);
    let status = if info.si_code == libc::CLD_EXITED { value } else { 128 + value };
    Ok(Some(Ended { pid: Pid::from_raw(pid), status }))
}

/// Waits until `pid`, a child, has ended: for one whose end is near. It stays a zombie.
pub(crate) fn until_ended(pid: Pid) -> io::Result<()> {
    let id = libc::id_t::try_from(pid.as_raw()).unwrap_or(0);
    // SAFETY: siginfo_t is plain old data for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is a live, writable siginfo_t; the other arguments are plain numbers.
        let result = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Sends `signal` to `pid`, real-time ones included.
pub(crate) fn kill(pid: Pid, signal: u32) -> io::Result<()> {
    let number = i32::try_from(signal).map_err(|_| io::Error::from(Errno::EINVAL))?;
    // SAFETY: only numbers are passed.
    Errno::result(unsafe { libc::kill(pid.as_raw(), number) })?;
    Ok(())
}
