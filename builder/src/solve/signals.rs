//! Signals that end the build.

use std::io::Write;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;
use crate::step::Interrupt;
use crate::sys::interrupt::{self, Signals};

/// Carries out `work`; a signal meanwhile raises `interrupt`, and the result is then an error in any case.
pub(super) fn watched<T>(interrupt: &Interrupt, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let doing = |error| Error::system("watch for signals", error);
    let signals = interrupt::open().map_err(doing)?;
    let (ended, mut end) = std::io::pipe().map_err(doing)?;
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&signals, ended, interrupt));
        let result = work();
        // The watcher reads it and ends; should it have ended already, nobody reads.
        drop(end.write_all(b"."));
        if interrupt.is_raised() && result.is_ok() { Err(Interrupt::error()) } else { result }
    })
}

fn watch(signals: &Signals, ended: std::io::PipeReader, interrupt: &Interrupt) {
    loop {
        let mut waiting =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let is_ready = |at: usize| waiting.get(at).and_then(PollFd::any).unwrap_or(false);
        if is_ready(1) {
            return;
        }
        if is_ready(0) && signals.next().is_ok() {
            interrupt.stop();
        }
    }
}
