//! The kernel calls of the probe that no safe crate offers.
//!
//! Invariant: `unsafe` appears nowhere else in the probe; every call returns the kernel's answer as `io::Result`.
#![allow(unsafe_code, reason = "the one room of the probe that speaks to the kernel directly")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The I/O priority of this process: class in the upper bits, level in the lower 13.
pub(crate) fn io_priority() -> io::Result<i64> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: ioprio_get reads two integers and touches no memory of ours.
    answer(unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) })
}

/// The execution domain, without changing it.
pub(crate) fn personality() -> io::Result<i64> {
    // SAFETY: 0xffffffff asks and changes nothing; no memory is touched.
    answer(unsafe { libc::syscall(libc::SYS_personality, 0xffff_ffff_u64) })
}

/// The scheduling policy of this process.
pub(crate) fn scheduler() -> io::Result<i64> {
    // SAFETY: reads one integer and touches no memory of ours.
    answer(unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) })
}

/// Calls `number` with six zeros. Meant for calls that a filter refuses, or that refuse zeros.
pub(crate) fn raw(number: i64) -> io::Result<i64> {
    // SAFETY: null pointers and zero lengths: the kernel answers EFAULT or EINVAL rather than write to memory of ours.
    answer(unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) })
}

/// From now on the kernel does not know a system call, for this process and all that it starts.
pub(crate) fn deny(number: u32) -> io::Result<()> {
    // linux/bpf_common.h: a word at an absolute offset; a jump where it is equal to a constant; a constant as the answer.
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut filter = [
        libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: EQUAL, jt: 0, jf: 1, k: number },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: refuse },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to four instructions that outlive the call; the kernel copies them.
    answer(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })
        .map(drop)
}

/// Sets the umask to 0 and gives the former one.
pub(crate) fn umask() -> u32 {
    // SAFETY: umask cannot fail and touches no memory.
    unsafe { libc::umask(0) }
}

/// Rows and columns of a terminal.
pub(crate) fn window(tty: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is borrowed for the call and the kernel writes exactly one winsize to `size`.
    answer(unsafe { libc::syscall(libc::SYS_ioctl, tty.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row, size.ws_col))
}

/// Signals that are ignored, by number: what an exec'd program inherits.
pub(crate) fn reset_child_signal() -> io::Result<()> {
    // SAFETY: SIG_DFL is a valid disposition; no handler of ours is replaced.
    let former = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if former == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A copy of this process, which has a single thread, in new namespaces: its number, 0 in the copy itself.
pub(crate) fn fork_into(flags: i32) -> io::Result<i32> {
    let flags = u64::from((flags | libc::SIGCHLD).cast_unsigned());
    // SAFETY: no flag of the callers shares memory, so that a null stack means a copy of this one, as with fork.
    let answer = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    self::answer(answer).and_then(|pid| i32::try_from(pid).map_err(io::Error::other))
}

/// Waits for the end of a child: its status.
pub(crate) fn wait(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: the kernel writes one integer.
    answer(unsafe { libc::waitpid(pid, &raw mut status, 0) }.into()).map(|_| status)
}

/// Ends this process without anything that belongs to the one that it is a copy of.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit touches no memory and does not return.
    unsafe { libc::_exit(code) }
}

fn answer(value: i64) -> io::Result<i64> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}
