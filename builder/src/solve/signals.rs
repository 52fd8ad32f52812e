//! Signals that end the build.

use std::io::Write;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;
use crate::step::Interrupt;
use crate::sys::interrupt::{self, Signals};

/// From the end of the last container to giving up what is no container's: a download, a push, git, much to read.
const PATIENCE: u16 = 1000;

/// Carries out `work` and takes over SIGINT, SIGTERM, SIGHUP and SIGQUIT: the first of them raises `interrupt`, and the result is then
/// an error. Work that has not ended a moment after its containers is left to `give_up`, which does not come back.
///
/// # Errors
/// The work's; the interruption.
pub fn watched<T>(
    interrupt: &Interrupt,
    give_up: &(dyn Fn() + Sync),
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let doing = |error| Error::system("watch for signals", error);
    let signals = interrupt::open().map_err(doing)?;
    let (ended, mut end) = std::io::pipe().map_err(doing)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if watch(&signals, &ended, interrupt) == Watched::Stuck {
                give_up();
            }
        });
        let result = work();
        // The watcher reads it and ends; should it have ended already, nobody reads.
        drop(end.write_all(b"."));
        if interrupt.is_raised() && result.is_ok() { Err(Interrupt::error()) } else { result }
    })
}

/// How the watching ended.
#[derive(PartialEq, Eq)]
enum Watched {
    /// The work is done.
    Ended,
    /// It is to end, and does not.
    Stuck,
}

fn watch(signals: &Signals, ended: &std::io::PipeReader, interrupt: &Interrupt) -> Watched {
    loop {
        let mut waiting =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return Watched::Ended,
            Ok(_) => {}
        }
        let is_ready = |at: usize| waiting.get(at).and_then(PollFd::any).unwrap_or(false);
        if is_ready(1) {
            return Watched::Ended;
        }
        if is_ready(0) && signals.next().is_ok() {
            interrupt.stop();
            interrupt.wait_for_containers();
            return after_the_containers(ended);
        }
    }
}

fn after_the_containers(ended: &std::io::PipeReader) -> Watched {
    loop {
        match poll(&mut [PollFd::new(ended.as_fd(), PollFlags::POLLIN)], PATIENCE) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(0) => return Watched::Stuck,
            _ => return Watched::Ended,
        }
    }
}
