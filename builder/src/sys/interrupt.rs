//! Signals as a descriptor: blocked from the start, read where somebody waits for them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The signals by which a person or a supervisor ends the builder.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The first signal asks, the second hastens, this one ends the child at once.
const PATIENCE: u32 = 3;

/// Blocked signals, readable.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// Blocks the ending signals and SIGCHLD for this thread and all that it starts, and opens them for reading.
///
/// # Errors
/// The kernel's.
pub fn block() -> io::Result<Signals> {
    let mut set = ending();
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
}

/// The ending signals alone, for the process that works; `block` came before.
///
/// # Errors
/// The kernel's.
pub fn open() -> io::Result<Signals> {
    let set = ending();
    set.thread_block()?;
    Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
}

fn ending() -> SigSet {
    let mut set = SigSet::empty();
    for signal in ENDING {
        set.add(signal);
    }
    set
}

impl Signals {
    /// Waits for the next signal: its number, and whether a terminal sent it (to the whole process group).
    ///
    /// # Errors
    /// The kernel's.
    pub fn next(&self) -> io::Result<(i32, Origin)> {
        loop {
            match self.0.read_signal() {
                Ok(Some(found)) => {
                    let origin = if found.ssi_code > 0 { Origin::Terminal } else { Origin::Process };
                    return Ok((i32::try_from(found.ssi_signo).unwrap_or(libc::SIGTERM), origin));
                }
                Ok(None) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }
}

/// Who sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The kernel, for a key or a hang-up: every process of the group has it.
    Terminal,
    /// A process: only we have it.
    Process,
}

/// Passes signals on to the child until it ends; its exit code.
pub(super) fn supervise(signals: &Signals, child: Pid) -> ExitCode {
    let mut asked = 0;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return ExitCode::from(low_byte(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return ExitCode::from(low_byte(128 + signal as i32)),
            Err(nix::errno::Errno::ECHILD) => return ExitCode::FAILURE,
            _ => {}
        }
        let Ok((number, origin)) = signals.next() else { return ExitCode::FAILURE };
        let Ok(signal) = Signal::try_from(number) else { continue };
        if signal != Signal::SIGCHLD {
            asked += 1;
        }
        if asked >= PATIENCE {
            // With it goes everything in its namespaces; the next builder sweeps the store.
            let _ = kill(child, Signal::SIGKILL);
            continue;
        }
        // A key at the terminal reaches the child by itself: it is in the same process group.
        if signal != Signal::SIGCHLD && origin == Origin::Process {
            // It may have ended meanwhile; the next turn of the loop sees that.
            let _ = kill(child, signal);
        }
    }
}

fn low_byte(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}
