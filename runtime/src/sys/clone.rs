//! `clone3`, as a fork with namespaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;
use super::missing::as_enosys;

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Side {
    Parent(Child),
    Child,
}

/// A process that was just made.
#[derive(Debug)]
pub struct Child {
    /// In the caller's pid namespace.
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// What the clone does beside copying the process.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// `CLONE_NEW*`, `CLONE_PARENT`, `CLONE_FILES`.
    pub flags: i32,
    /// Born in this cgroup of v2: no migration, hence no wait for one.
    pub cgroup: Option<BorrowedFd<'a>>,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// struct clone_args of linux/sched.h, as of Linux 5.7.
#[repr(C, align(8))]
#[derive(Default)]
struct Args {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Copies this process. Without `CLONE_VM` the child has memory of its own and may go on in ordinary code: this program
/// never starts a thread, so that no lock can be held by one that is missing in the child.
pub fn clone3(options: &Options<'_>) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    let allowed = !(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_SETTLS);
    let mut args = Args {
        flags: u64::from((options.flags & allowed | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: (&raw mut pidfd).addr() as u64,
        // With CLONE_PARENT the signal is the caller's own, and the kernel insists on nothing here.
        exit_signal: match options.flags & libc::CLONE_PARENT {
            0 => libc::SIGCHLD as u64,
            _ => 0,
        },
        ..Args::default()
    };
    if let Some(cgroup) = options.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(io::Error::other)?;
    }
    // SAFETY: the kernel reads exactly size_of(Args) bytes and writes one descriptor to `pidfd`, which outlives the call; no
    // flag that shares memory or stack is passed.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<Args>()) };
    match check(result).map_err(|source| as_enosys(source, libc::SYS_clone3))? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(Child {
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            // SAFETY: a successful clone with CLONE_PIDFD stores a descriptor that nobody else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// The clone of kernels and filters without `clone3`: no cgroup, no time namespace.
pub fn clone(flags: i32) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    let allowed = !(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_SETTLS);
    let signal = if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD } else { 0 };
    let flags = libc::c_ulong::from((flags & allowed | libc::CLONE_PIDFD | signal).cast_unsigned());
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: a null stack means a copy of this one, as fork does; the third argument takes the pidfd on every architecture;
    // the last two are unused without CLONE_CHILD_* and CLONE_SETTLS, so that their order does not matter.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut pidfd, none, none) };
    match check(result)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(Child {
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            // SAFETY: a successful clone with CLONE_PIDFD stores a descriptor that nobody else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// Ends this process at once: no destructors, which belong to the parent that this one is a copy of.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory.
    unsafe { libc::_exit(code) }
}
