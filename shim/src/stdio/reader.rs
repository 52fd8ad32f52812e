//! The reader of a client's fifo, who may open it only after the shim has.
//!
//! A client opens its ends in threads of their own, and gives up those that it does not know to be open when the process has been
//! deleted. So there is no process before every fifo has been opened for reading, and no deletion is answered while what is in
//! one is still to be read.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::error::{Doing, Error};
use crate::sys::fd;

/// A fifo's writing end.
pub(crate) struct Fifo {
    pub(crate) end: OwnedFd,
    /// While nobody reads, `end` is there only so that an open(2) for reading does not wait: another takes its place then.
    pub(crate) missing: Option<Missing>,
}

/// The reader of this fifo has not come yet.
pub(crate) struct Missing {
    path: PathBuf,
    notice: Notice,
}

/// How his coming is noticed.
enum Notice {
    Told(Inotify),
    /// A user may have few of those (`max_user_instances`): the writing end itself is asked whether anybody reads.
    Asked(OwnedFd),
}

pub(crate) fn open(path: &Path) -> Result<Fifo, Error> {
    let doing = || format!("open {}", path.display());
    let held = match fd::open_path(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK) {
        Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => return await_reader(path),
        held => held.doing(doing)?,
    };
    let end = both_ways(path)?;
    drop(held); // not before: a reader would see the end of the fifo in between
    Ok(Fifo { end, missing: None })
}

/// For reading too: the fifo stays open, and keeps what is in it, while the client is away.
fn both_ways(path: &Path) -> Result<OwnedFd, Error> {
    fd::open_path(path, OFlag::O_RDWR | OFlag::O_NONBLOCK).doing(|| format!("open {}", path.display()))
}

fn await_reader(path: &Path) -> Result<Fifo, Error> {
    let doing = || format!("wait for a reader of {}", path.display());
    let own = both_ways(path)?;
    let end = fd::open_path(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK).doing(doing)?;
    drop(own); // from here on every reader is the client
    let notice = match watch(path, AddWatchFlags::IN_OPEN) {
        Ok(opened) => Notice::Told(opened),
        Err(_) => Notice::Asked(end.try_clone().doing(doing)?),
    };
    // One that came before the watch.
    if fd::has_reader(&end).doing(doing)? {
        return Ok(Fifo { end: both_ways(path)?, missing: None });
    }
    Ok(Fifo { end, missing: Some(Missing { path: path.to_owned(), notice }) })
}

fn watch(path: &Path, events: AddWatchFlags) -> nix::Result<Inotify> {
    let watched = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    watched.add_watch(path, events)?;
    Ok(watched)
}

impl Missing {
    /// The writing end, when the fifo has been opened.
    pub(crate) fn came(&self) -> Result<Option<OwnedFd>, Error> {
        let doing = || format!("wait for a reader of {}", self.path.display());
        let came = match &self.notice {
            Notice::Told(opened) => match opened.read_events() {
                Ok(_) => true,
                Err(Errno::EAGAIN) => false,
                Err(errno) => return Err(errno).doing(doing),
            },
            Notice::Asked(end) => fd::has_reader(end).doing(doing)?,
        };
        if came { both_ways(&self.path).map(Some) } else { Ok(None) }
    }

    pub(super) fn polled(&self) -> Option<BorrowedFd<'_>> {
        match &self.notice {
            Notice::Told(opened) => Some(opened.as_fd()),
            Notice::Asked(_) => None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// What its reader has not taken out of a fifo yet that nobody writes to any more.
pub(crate) struct Unread {
    /// For reading: the reader sees the end of the fifo behind what is in it.
    own: OwnedFd,
    /// Without it `count` has to be asked again and again.
    taken: Option<Inotify>,
}

impl Unread {
    /// `None` when there is nothing to read, or nobody who does. Closes the writing end `end`.
    pub(crate) fn of(end: OwnedFd) -> io::Result<Option<Unread>> {
        if !fd::is_fifo(&end)? {
            return Ok(None);
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", end.as_raw_fd()));
        let writer = fd::open_path(&path, OFlag::O_WRONLY | OFlag::O_NONBLOCK)?;
        drop(end); // it may be open for reading too
        if fd::pending(&writer)? == 0 || !fd::has_reader(&writer)? {
            return Ok(None);
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
        let own = fd::open_path(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let taken = watch(&path, AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_CLOSE_NOWRITE).ok();
        let unread = Unread { own, taken };
        Ok((unread.count() > 0).then_some(unread))
    }

    /// How many bytes; none when the reader is gone.
    pub(crate) fn count(&self) -> usize {
        let events = self.taken.as_ref().and_then(|taken| taken.read_events().ok()).unwrap_or_default();
        let closed = events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_CLOSE_NOWRITE));
        if closed { 0 } else { fd::pending(&self.own).unwrap_or(0) }
    }

    pub(super) fn polled(&self) -> Option<BorrowedFd<'_>> {
        self.taken.as_ref().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn fifo(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("coracle-{name}-{}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        path
    }

    fn read_end(path: &Path) -> std::fs::File {
        fd::open_path(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).unwrap().into()
    }

    #[test]
    fn a_fifo_that_is_read_has_nobody_missing() {
        let path = fifo("read");
        let _reader = read_end(&path);
        assert!(open(&path).unwrap().missing.is_none());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_reader_is_found_where_nothing_tells_of_him() {
        let path = fifo("asked");
        let Fifo { end, .. } = open(&path).unwrap();
        let missing = Missing { path: path.clone(), notice: Notice::Asked(end) };
        assert!(missing.came().unwrap().is_none() && missing.polled().is_none());
        let _reader = read_end(&path);
        assert!(missing.came().unwrap().is_some());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_reader_who_comes_late_is_noticed_and_what_is_written_stays_when_he_is_gone() {
        let path = fifo("unread");
        let Fifo { end, missing } = open(&path).unwrap();
        let missing = missing.unwrap();
        assert!(missing.came().unwrap().is_none());
        drop(read_end(&path));
        let writer = missing.came().unwrap().unwrap();
        drop(end);
        fd::write(&writer, b"kept").unwrap();
        let mut reader = read_end(&path);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
        std::fs::remove_file(&path).unwrap();
    }
}
