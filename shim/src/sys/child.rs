//! Making processes: the shim's own daemon, runtimes, and logging programs.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, Pid};

use super::limits;

/// Descriptors for a child; an absent one is /dev/null.
#[derive(Default)]
pub(crate) struct Io {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// These become descriptor 3 and upwards.
    pub(crate) extra: Vec<OwnedFd>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lifetime {
    /// Killed with the shim: a runtime that goes on alone would race with the clean-up of what it makes.
    Ours,
    Own,
}

/// The lowest number of a descriptor kept aside for a child: above those the child will see.
const ASIDE: i32 = 32;

/// Starts `command` with no signal blocked. The caller reaps it.
pub(crate) fn spawn(mut command: Command, io: Io, lifetime: Lifetime) -> io::Result<Pid> {
    let slot = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
    command.stdin(slot(io.stdin)).stdout(slot(io.stdout)).stderr(slot(io.stderr));
    // Out of the way of the numbers they will get, so that no dup2 below overwrites a source of a later one.
    let mut extra = Vec::new();
    for fd in &io.extra {
        let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ASIDE))?;
        // SAFETY: F_DUPFD_CLOEXEC returned a new descriptor that nothing else owns.
        extra.push(unsafe { std::os::fd::FromRawFd::from_raw_fd(raw) });
    }
    let extra: Vec<OwnedFd> = extra;
    let numbers: Vec<i32> = extra.iter().map(AsRawFd::as_raw_fd).collect();
    let descriptors = limits::given();
    let prepare = move || {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        if let Some(limit) = &descriptors {
            limits::set(limit)?;
        }
        if lifetime == Lifetime::Ours {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        }
        for (target, source) in (3..).zip(&numbers) {
            // SAFETY: `source` is open here (the parent holds it across the fork); dup2 clears close-on-exec.
            Errno::result(unsafe { libc::dup2(*source, target) })?;
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe system calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Parent(Pid),
    Child,
}

/// Splits the process in two. Call it only while the process has one thread.
pub(crate) fn fork() -> io::Result<Side> {
    // SAFETY: the shim never starts a thread, so no lock can be held by one that the child lacks.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child)),
        ForkResult::Child => Ok(Side::Child),
    }
}

/// Closes `fd` in another process, so that whatever the kernel does then keeps nobody waiting. The caller reaps it.
pub(crate) fn drop_aside(fd: OwnedFd) {
    if !matches!(fork(), Ok(Side::Child)) {
        return; // the copy in the child, if there is one, is the last
    }
    let number = fd.as_raw_fd().cast_unsigned();
    for (first, last) in [(0, number.saturating_sub(1)), (number + 1, u32::MAX)] {
        // The connections in particular: their peers wait for their end.
        // SAFETY: only numbers are passed, and this process uses none of these descriptors any more.
        unsafe { libc::close_range(first, last, 0) };
    }
    // SAFETY: _exit runs nothing of this program; the kernel closes `fd`.
    unsafe { libc::_exit(0) }
}

/// A core scheduling cookie for this process group (`SCHED_CORE`), inherited by everything it starts.
pub(crate) fn share_core_with_nobody() -> io::Result<()> {
    const PROCESS_GROUP: libc::c_ulong = 2;
    // SAFETY: only numbers are passed; the fifth argument must be null for PR_SCHED_CORE_CREATE.
    let result = unsafe { libc::prctl(libc::PR_SCHED_CORE, libc::PR_SCHED_CORE_CREATE, 0, PROCESS_GROUP, 0) };
    Errno::result(result)?;
    Ok(())
}
