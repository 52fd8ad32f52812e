//! `NOTIFY_SOCKET` (sd_notify(3)): the service manager hears when the container's program is ready, and which process it is.
//!
//! The container gets a socket of its own, never the manager's: of what it says only `READY=1` goes on.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, recv, socket};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::Error;
use crate::state::Entry;
use crate::sys::fds;

/// The directory that the container sees, in its own one among the states; and the socket in it.
pub const DIR: &str = "notify";
pub const SOCKET: &str = "notify.sock";
/// As long as runc waits for a manager that does not know `BARRIER=1`.
const PATIENCE: u16 = 30_000;

/// What the container says, and whom it is said to.
#[derive(Debug)]
pub struct Relay {
    socket: OwnedFd,
    manager: OsString,
    is_told: Cell<bool>,
}

/// The directory for the container's mount, whatever the umask: its user need not be root.
pub fn make_dir(entry: &Entry) -> Result<(), Error> {
    let mode = Mode::from_bits_truncate(0o755);
    mkdirat(entry.dir(), DIR, mode)
        .and_then(|()| fchmod(open_dir(entry)?, mode))
        .map_err(|errno| Error::system(format!("make {}", entry.path().join(DIR).display()), errno))
}

/// Opens the container's socket, before its program begins. None where it was created without.
pub fn listen(entry: &Entry, manager: &OsStr) -> Result<Option<Relay>, Error> {
    let wrong = |errno| {
        let path = entry.path().join(DIR).join(SOCKET);
        Error::system(format!("listen at {}", path.display()), errno)
    };
    let dir = match open_dir(entry) {
        Err(Errno::ENOENT) => return Ok(None),
        opened => opened.map_err(wrong)?,
    };
    let socket = listen_in(&dir).map_err(wrong)?;
    Ok(Some(Relay { socket, manager: manager.to_owned(), is_told: Cell::new(false) }))
}

fn open_dir(entry: &Entry) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(entry.dir(), DIR, flags, Mode::empty())
}

fn listen_in(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    match unlinkat(dir, SOCKET, UnlinkatFlags::NoRemoveDir) {
        // A `start` that failed has left it.
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let socket = datagrams()?;
    // A socket's path has at most 107 bytes, and the root of the states may be deep.
    let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    bind(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    fchmodat(dir, SOCKET, Mode::from_bits_truncate(0o777), FchmodatFlags::FollowSymlink)?;
    Ok(socket)
}

fn datagrams() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

impl Relay {
    /// Until the container's first process says that it is ready, or ends. The manager takes that process for the service's main one.
    pub fn until_ready(&self, init: BorrowedFd<'_>, pid: i32) -> Result<(), Error> {
        loop {
            let mut watched =
                [PollFd::new(self.as_fd(), PollFlags::POLLIN), PollFd::new(init, PollFlags::POLLIN)];
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::system("wait for the container to be ready", errno)),
            }
            let [told, ended] = watched.map(|fd| fd.any().unwrap_or(false));
            // What it said before its end counts.
            if told && self.hears_ready() {
                let manager = self.tell(pid)?;
                return barrier(&manager).map_err(|source| self.wrong(source));
            }
            if ended && !told {
                return Ok(());
            }
        }
    }

    /// For a runtime that stays, and stays the service's main process: one message of the container's, of which the first that
    /// it is ready goes on. The others are taken, so that nobody waits for room.
    pub fn pass(&self) -> Result<(), Error> {
        match self.hears_ready() && !self.is_told.replace(true) {
            true => self.tell(nix::unistd::getpid().as_raw()).map(drop),
            false => Ok(()),
        }
    }

    /// Takes one message. Descriptors that came along are closed by the kernel.
    fn hears_ready(&self) -> bool {
        let mut buffer = [0; 4096];
        let count = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
        says_ready(buffer.get(..count).unwrap_or_default())
    }

    fn tell(&self, main: i32) -> Result<OwnedFd, Error> {
        let told = (|| {
            let manager = datagrams()?;
            connect(manager.as_raw_fd(), &address(&self.manager)?)?;
            fds::send(&manager, b"READY=1\n", None)?;
            fds::send(&manager, format!("MAINPID={main}\n").as_bytes(), None)?;
            Ok(manager)
        })();
        told.map_err(|source| self.wrong(source))
    }

    fn wrong(&self, source: std::io::Error) -> Error {
        let text =
            format!("tell the service manager at {} that the container is ready", self.manager.display());
        Error::system(text, source).hint("is NOTIFY_SOCKET the manager's?")
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A line of its own among others.
fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

/// With `@` in front a name without a file.
fn address(manager: &OsStr) -> Result<UnixAddr, Errno> {
    match manager.as_bytes().split_first() {
        Some((b'@', name)) => UnixAddr::new_abstract(name),
        _ => UnixAddr::new(manager.as_bytes()),
    }
}

/// The manager finds out who has spoken while that process lives: we stay until it closes what we send (sd_notify_barrier(3)).
fn barrier(manager: &OwnedFd) -> Result<(), std::io::Error> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fds::send(manager, b"BARRIER=1", Some(writer.as_fd()))?;
    drop(writer);
    let mut watched = [PollFd::new(reader.as_fd(), PollFlags::empty())];
    while let Err(errno) = poll(&mut watched, PollTimeout::from(PATIENCE)) {
        if errno != Errno::EINTR {
            return Err(errno.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{address, says_ready};

    #[test]
    fn only_a_line_of_its_own_says_ready() {
        for message in ["READY=1", "READY=1\n", "STATUS=up\nREADY=1\nMAINPID=7"] {
            assert!(says_ready(message.as_bytes()), "{message:?}");
        }
        for message in ["", "READY=0", "READY=10", "STATUS=READY=1", "XREADY=1", "STOPPING=1\n"] {
            assert!(!says_ready(message.as_bytes()), "{message:?}");
        }
    }

    #[test]
    fn an_address_may_have_no_file() {
        let has = |text: &str| address(text.as_ref()).unwrap();
        assert_eq!(has("@coracle/x").as_abstract(), Some(&b"coracle/x"[..]));
        assert_eq!(has("/run/n").path(), Some(std::path::Path::new("/run/n")));
    }
}
