//! The end of a child, and what it and those that it waited for have used.

use std::io;
use std::time::Duration;

/// As of getrusage(2).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Pages that were mapped without input.
    pub(crate) faults: u64,
}

/// A child that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// 128 + n after signal n.
    pub(crate) code: i32,
    pub(crate) usage: Usage,
}

/// Waits for the end of this child.
pub(crate) fn wait(pid: i32) -> io::Result<Ended> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: the kernel writes one integer and one rusage, and both outlive the call.
        let ended = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        match ended {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => break,
        }
    }
    // SAFETY: all zeroes is a value, and the kernel has written another.
    let usage = unsafe { usage.assume_init() };
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    let faults = u64::try_from(usage.ru_minflt).unwrap_or(0);
    Ok(Ended { code, usage: Usage { cpu: time(usage.ru_utime) + time(usage.ru_stime), faults } })
}

fn time(value: libc::timeval) -> Duration {
    let whole = Duration::from_secs(u64::try_from(value.tv_sec).unwrap_or(0));
    whole + Duration::from_micros(u64::try_from(value.tv_usec).unwrap_or(0))
}
