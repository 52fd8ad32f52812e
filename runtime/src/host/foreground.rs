//! A container or a process in the foreground: signals go to it, its end is waited for, its terminal is shown.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::console;
use super::notify::Relay;
use super::spawn::Spawned;
use crate::error::Error;
use crate::sys::pidfd::{self, Exit};
use crate::sys::signal;

/// Blocked from before the clone, so that none is lost between the child's end and the wait for it.
#[derive(Debug)]
pub struct Blocked(SigSet);

/// Blocks everything but what a fault of our own raises.
pub fn block() -> Result<Blocked, Error> {
    let mut set = SigSet::all();
    let faults =
        [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGSYS, Signal::SIGTRAP];
    for fault in faults {
        set.remove(fault);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)
        .map_err(|errno| Error::system("block signals", errno))?;
    Ok(Blocked(set))
}

/// What is looked after meanwhile.
#[derive(Debug)]
pub struct Attended {
    pub terminal: Option<OwnedFd>,
    pub relay: Option<Relay>,
}

/// Waits for the child's end; with a terminal shows what comes from it and passes on what is typed.
pub fn wait(child: &Spawned, attended: &Attended, blocked: &Blocked) -> Result<Exit, Error> {
    if attended.terminal.is_some() || attended.relay.is_some() {
        return attend(child, attended, blocked);
    }
    loop {
        let number = signal::wait(&blocked.0).map_err(|source| Error::system("wait for signals", source))?;
        if let Some(exit) = on_signal(number, child, None)? {
            return Ok(exit);
        }
    }
}

/// The child's exit once it has ended. Others that were left to us as their subreaper are reaped in passing.
fn on_signal(number: i32, child: &Spawned, master: Option<&OwnedFd>) -> Result<Option<Exit>, Error> {
    match number {
        libc::SIGCHLD => loop {
            match pidfd::reap_any() {
                Ok(Some((pid, exit))) if pid == child.pid => return Ok(Some(exit)),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(source) => return Err(Error::system("wait for the container", source)),
            }
        },
        libc::SIGWINCH => {
            if let Some(master) = master {
                console::adopt_size(master);
            }
            Ok(None)
        }
        libc::SIGPIPE | libc::SIGURG => Ok(None),
        number => {
            // Gone already: its SIGCHLD is under way.
            drop(pidfd::signal_child(&child.pidfd, child.pid, number));
            Ok(None)
        }
    }
}

/// Puts the terminal back as it was.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Self(None) };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Output is for people still: a line that the container ends begins at the left.
        raw.output_flags.insert(OutputFlags::OPOST);
        match tcsetattr(&stdin, SetArg::TCSANOW, &raw) {
            Ok(()) => Self(Some(before)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn attend(child: &Spawned, attended: &Attended, blocked: &Blocked) -> Result<Exit, Error> {
    let signals = SignalFd::with_flags(&blocked.0, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| Error::system("wait for signals", errno))?;
    let master = attended.terminal.as_ref();
    let _raw = master.map(|_| Raw::enter());
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let (mut typing, mut showing) = (master, master);
    loop {
        let others = [
            typing.map(|_| stdin.as_fd()),
            showing.map(AsFd::as_fd),
            attended.relay.as_ref().map(AsFd::as_fd),
        ];
        let (signalled, [typed, written, told]) = ready(&signals, others)?;
        if written {
            showing = showing.filter(|master| pass(master.as_fd(), stdout.as_fd()));
        }
        if typed {
            typing = typing.filter(|master| passes_input(stdin.as_fd(), master));
        }
        if told && let Some(relay) = &attended.relay {
            // The container runs, whoever cannot be told of it.
            drop(relay.pass());
        }
        if signalled && let Some(exit) = on_signals(&signals, child, master)? {
            if let Some(master) = master {
                drain(master.as_fd(), stdout.as_fd());
            }
            return Ok(exit);
        }
    }
}

fn passes_input(stdin: BorrowedFd<'_>, master: &OwnedFd) -> bool {
    let goes_on = pass(stdin, master.as_fd());
    if !goes_on {
        end_input(master);
    }
    goes_on
}

fn on_signals(signals: &SignalFd, child: &Spawned, master: Option<&OwnedFd>) -> Result<Option<Exit>, Error> {
    while let Ok(Some(info)) = signals.read_signal() {
        let number = i32::try_from(info.ssi_signo).unwrap_or(0);
        if let Some(exit) = on_signal(number, child, master)? {
            return Ok(Some(exit));
        }
    }
    Ok(None)
}

/// Whether a signal came, and which of the others have something to say.
fn ready(signals: &SignalFd, others: [Option<BorrowedFd<'_>>; 3]) -> Result<(bool, [bool; 3]), Error> {
    let mut watched = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    watched.extend(others.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
    match poll(&mut watched, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::system("wait for the terminal", errno)),
    }
    let mut events = watched.iter().map(|fd| fd.any().unwrap_or(false));
    let signalled = events.next().unwrap_or(false);
    Ok((signalled, others.map(|fd| fd.is_some() && events.next().unwrap_or(false))))
}

/// Passes on what is there; false when no more will come. EIO: nobody has the other end of the terminal open.
fn pass(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 32 << 10];
    match nix::unistd::read(from, &mut buffer) {
        Ok(0) => false,
        Ok(count) => write_all(to, buffer.get(..count).unwrap_or_default()),
        Err(Errno::EINTR | Errno::EAGAIN) => true,
        Err(_) => false,
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match nix::unistd::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut watched = [PollFd::new(to, PollFlags::POLLOUT)];
                let _ = poll(&mut watched, PollTimeout::NONE);
            }
            Err(_) => return false,
        }
    }
    true
}

/// An end of input is typed.
fn end_input(master: &OwnedFd) {
    const END_OF_TRANSMISSION: u8 = 4;
    write_all(master.as_fd(), &[END_OF_TRANSMISSION]);
}

/// What was written before the end is shown: all that is there, without waiting for more.
fn drain(master: BorrowedFd<'_>, stdout: BorrowedFd<'_>) {
    loop {
        let mut watched = [PollFd::new(master, PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::ZERO) {
            Ok(count) if count > 0 && pass(master, stdout) => {}
            _ => return,
        }
    }
}
