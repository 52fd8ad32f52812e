//! Lets a created container begin.

use std::io::Read;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, Kind};
use crate::state::{Entry, FIFO};
use crate::wire;

/// Writes to the fifo at which init waits, and watches until init has let go of it, at its execve or its end. No news is good news.
///
/// One fifo carries both ways: only when its last reader is gone do we read, so that our own word is never taken for an answer.
pub fn start(entry: &Entry) -> Result<(), Error> {
    let wrong = |errno: Errno| Error::system(format!("open {}", entry.path().join(FIFO).display()), errno);
    let dead = || Error::new(Kind::System, "container process is already dead");
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let fifo = match openat(entry.dir(), FIFO, OFlag::O_WRONLY | flags, Mode::empty()) {
        // Nobody reads: init has ended.
        Err(Errno::ENXIO) => return Err(dead()),
        other => other.map_err(wrong)?,
    };
    nix::unistd::write(&fifo, GO).map_err(wrong)?;
    // An error is all that a writer hears of its readers, and what comes without being asked for.
    let mut watched = [PollFd::new(fifo.as_fd(), PollFlags::empty())];
    while let Err(errno) = poll(&mut watched, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(wrong(errno));
        }
    }
    let answer = openat(entry.dir(), FIFO, OFlag::O_RDONLY | flags, Mode::empty()).map_err(wrong)?;
    drop(fifo);
    let mut told = Vec::new();
    // Whatever cannot be read is no news either.
    drop(std::fs::File::from(answer).read_to_end(&mut told));
    match told.as_slice() {
        // Whether the program runs or has ended already: it has begun.
        [] => unlink(entry),
        // It ended without having heard us.
        told if told == GO => Err(dead()),
        told => Err(wire::decode_error(told)),
    }
}

/// No error begins with it (`wire::encode`).
const GO: &[u8] = b"0";

fn unlink(entry: &Entry) -> Result<(), Error> {
    match unlinkat(entry.dir(), FIFO, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Error::system(format!("remove {}", entry.path().join(FIFO).display()), errno)),
    }
}
