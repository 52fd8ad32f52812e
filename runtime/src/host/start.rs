//! Lets a created container begin.

use std::io::Read;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, Kind};
use crate::state::{Entry, FIFO, RESULT};
use crate::wire;

/// Writes to the fifo at which init waits, and listens at the other until execve has closed init's end: no news is good news.
pub fn start(entry: &Entry) -> Result<(), Error> {
    let wrong = |name: &str, errno: Errno| {
        Error::system(format!("open {}", entry.path().join(name).display()), errno)
    };
    let dead = || Error::new(Kind::System, "container process is already dead");
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let result = openat(entry.dir(), RESULT, OFlag::O_RDONLY | flags, Mode::empty())
        .map_err(|errno| wrong(RESULT, errno))?;
    let signal = match openat(entry.dir(), FIFO, OFlag::O_WRONLY | flags, Mode::empty()) {
        // Nobody reads: init has ended.
        Err(Errno::ENXIO) => return Err(dead()),
        other => other.map_err(|errno| wrong(FIFO, errno))?,
    };
    nix::unistd::write(&signal, b"0").map_err(|errno| wrong(FIFO, errno))?;
    let mut watched = [PollFd::new(result.as_fd(), PollFlags::POLLIN)];
    while let Err(errno) = poll(&mut watched, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(wrong(RESULT, errno));
        }
    }
    let mut told = Vec::new();
    // Whatever cannot be read is no news either.
    drop(std::fs::File::from(result).read_to_end(&mut told));
    match told.is_empty() {
        false => Err(wire::decode_error(&told)),
        // Whether the program runs or has ended already: it has begun.
        true => unlink(entry),
    }
}

fn unlink(entry: &Entry) -> Result<(), Error> {
    for name in [RESULT, FIFO] {
        match unlinkat(entry.dir(), name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                return Err(Error::system(format!("remove {}", entry.path().join(name).display()), errno));
            }
        }
    }
    Ok(())
}
