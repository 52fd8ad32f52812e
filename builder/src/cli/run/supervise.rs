//! Looking after a running container: signals go in, the exit code comes out.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bundle::{Exit, Runtime};
use crate::error::{Error, Kind};
use crate::image::Execution;
use crate::sys::interrupt::{Origin, Signals};
use crate::sys::userns;

/// From the first signal to SIGKILL, unless the image says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_PATIENCE: Duration = Duration::from_hours(24);

/// How the container is asked to stop.
pub(super) struct Stopping<'a> {
    runtime: &'a Runtime,
    id: &'a str,
    signal: String,
    patience: Duration,
    /// The runtime is in the terminal's process group and passes a key's signal on itself.
    shares_terminal: bool,
}

impl<'a> Stopping<'a> {
    pub(super) fn new(
        runtime: &'a Runtime,
        id: &'a str,
        execution: &Execution,
        shares_terminal: bool,
    ) -> Self {
        let signal = match execution.stop_signal.as_str() {
            "" => "TERM",
            given => given.trim_start_matches("SIG"),
        };
        Self {
            runtime,
            id,
            signal: signal.to_owned(),
            patience: patience(execution.stop_timeout),
            shares_terminal,
        }
    }

    /// Passes a first signal on: a key's as it is, a request to end as the image's own.
    fn ask(&self, number: i32, origin: Origin) -> Result<(), Error> {
        match number {
            libc::SIGINT if origin == Origin::Terminal && self.shares_terminal => Ok(()),
            libc::SIGINT => self.runtime.kill(self.id, "INT"),
            libc::SIGQUIT => self.runtime.kill(self.id, "QUIT"),
            _ => self.runtime.kill(self.id, &self.signal),
        }
    }
}

/// The image's word, which may be any number; a moment that no clock can name would be a panic.
fn patience(seconds: Option<i64>) -> Duration {
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(PATIENCE, |seconds| Duration::from_secs(seconds).min(MOST_PATIENCE))
}

/// Waits for the runtime's `run`.
pub(super) fn foreground(
    signals: &Signals,
    stopping: &Stopping<'_>,
    mut child: Child,
    bundle: &Path,
) -> Result<Exit, Error> {
    let pid = i32::try_from(child.id()).map_err(|_| Error::new(Kind::System, "a process id is too large"))?;
    let process = userns::pidfd_open(pid).map_err(|error| Error::system("watch the runtime", error))?;
    let end_runtime = || {
        // The runtime itself, should there be no container yet.
        drop(userns::pidfd_send(&process, libc::SIGKILL));
    };
    until_ended(signals, stopping, &process, &end_runtime)?;
    let exit = stopping.runtime.wait(&mut child, bundle)?;
    stopping.runtime.delete(stopping.id)?;
    Ok(exit)
}

/// Waits for the container's first process, which became ours when the runtime ended.
pub(super) fn background(signals: &Signals, stopping: &Stopping<'_>, pid: i32) -> Result<u8, Error> {
    let process = match userns::pidfd_open(pid) {
        Ok(process) => Some(process),
        // It has ended already, and waits to be reaped.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => None,
        Err(error) => return Err(Error::system("watch the container", error)),
    };
    if let Some(process) = &process {
        until_ended(signals, stopping, process, &|| {})?;
    }
    match waitpid(Pid::from_raw(pid), None) {
        Ok(WaitStatus::Exited(_, code)) => Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Ok(u8::try_from(128 + (signal as i32)).unwrap_or(u8::MAX)),
        Ok(_) => Err(Error::new(Kind::System, "the container's process did not end")),
        Err(errno) => Err(Error::system("wait for the container", errno)),
    }
}

/// Passes signals on until the process ends: the first asks, the second and the end of patience kill.
fn until_ended(
    signals: &Signals,
    stopping: &Stopping<'_>,
    process: &OwnedFd,
    at_the_last: &dyn Fn(),
) -> Result<(), Error> {
    let mut deadline: Option<Instant> = None;
    loop {
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let timeout = match left {
            None => PollTimeout::NONE,
            Some(left) => PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        };
        let mut waiting = [
            PollFd::new(process.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waiting, timeout) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(Error::system("wait for the container", errno)),
            Ok(_) => {}
        }
        let is_ready = |at: usize| waiting.get(at).and_then(PollFd::any).unwrap_or(false);
        if is_ready(0) {
            return Ok(());
        }
        if is_ready(1) {
            let (number, origin) = signals.next().map_err(|error| Error::system("read a signal", error))?;
            if deadline.is_none() {
                deadline = Some(Instant::now() + stopping.patience);
                stopping.ask(number, origin)?;
                continue;
            }
        } else if deadline.is_none_or(|end| Instant::now() < end) {
            continue;
        }
        stopping.runtime.kill(stopping.id, "KILL")?;
        at_the_last();
        deadline = Some(Instant::now() + stopping.patience);
    }
}

/// The streams of a process that stays when its user leaves.
pub(super) fn let_go() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    nix::unistd::dup2_stderr(&nothing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_s_stop_timeout_is_too_much_for_the_clock() {
        for (said, expected) in
            [(None, 10), (Some(-1), 10), (Some(0), 0), (Some(30), 30), (Some(i64::MAX), 86_400)]
        {
            assert_eq!(patience(said).as_secs(), expected, "{said:?}");
        }
        assert!(Instant::now().checked_add(patience(Some(i64::MAX))).is_some());
    }
}
