//! Lets a created container begin.

use std::io::Read;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, Kind};
use crate::state::{Entry, FIFO, Record};
use crate::sys::pidfd;
use crate::wire;

/// Opens the fifo, at which init waits, and listens until execve has closed init's end of it: no news is good news.
pub fn start(entry: &Entry, record: &Record) -> Result<(), Error> {
    let wrong = |errno: Errno| Error::system(format!("open {}", entry.path().join(FIFO).display()), errno);
    let dead = || Error::new(Kind::System, "container process is already dead");
    let init = pidfd::open(record.init.pid).map_err(|_| dead())?;
    // Checked after opening: the descriptor means this process and no later one of the same number.
    if !record.init.is_alive() {
        return Err(dead());
    }
    // Without O_NONBLOCK this would wait for ever for an init that dies now.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let fifo = openat(entry.dir(), FIFO, flags, Mode::empty()).map_err(wrong)?;
    let mut watched =
        [PollFd::new(fifo.as_fd(), PollFlags::POLLIN), PollFd::new(init.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(wrong(errno)),
        }
    }
    let has_news = watched.first().and_then(PollFd::any).unwrap_or(false);
    let mut told = Vec::new();
    let mut fifo = std::fs::File::from(fifo);
    let read = fifo.read_to_end(&mut told);
    if has_news && read.is_ok() && told.is_empty() {
        return unlinkat(entry.dir(), FIFO, UnlinkatFlags::NoRemoveDir).map_err(wrong);
    }
    match told.is_empty() {
        true => Err(dead()),
        false => Err(wire::decode_error(&told)),
    }
}
