//! The only talk between host and init: one SEQPACKET pair, one enum each way.
//!
//! ```text
//! host                                     init
//!   Go  --------------------------------->       mapped, placed               (where the plan says `waits`)
//!   Network + namespace  ---------------->       before what depends on it      (where the host makes it)
//!       <---------------------------------  Entered                           (where there are network devices)
//!   Go  --------------------------------->       they are in its network
//!       <---------------------------------  Unmapped + mount                  (for each idmapped mount of what is in the root, in a user namespace)
//!   Go  --------------------------------->       it is mapped
//!       <---------------------------------  Mounted                           (where there are prestart or createRuntime hooks)
//!   Go  --------------------------------->       the hooks have run
//!       <---------------------------------  Terminal + master                 (with a terminal)
//!       <---------------------------------  Unlimited                         (where the host sets limits)
//!   Go  --------------------------------->       they are set
//!       <---------------------------------  Listener + descriptor             (with a seccomp agent)
//!       <---------------------------------  ListenerAt + its number           (with one that answers for sendmsg, instead)
//!   Go  --------------------------------->       the agent has it
//!       <---------------------------------  Ready                             (`run`, without an agent: before init gives up its rights)
//!   Go  --------------------------------->       it is on record; `run`: start now
//!       <---------------------------------  end of file: execve has closed init's end
//! ```
//!
//! `create` leaves after the last `Go`; init then waits for `start` at the fifo. `Warning` may come at any time, `Failed` too, and ends
//! the talk. To host, end of file before `Ready`, or with a `Go` that nobody has heard, means that init was killed; to init, that the
//! host was: it ends.
//!
//! Invariant: a message is one datagram of at most `MOST` bytes; what does not parse is an error, never a guess.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::error::{Error, Kind};
use crate::sys;

/// What init says.
#[derive(Debug)]
pub enum FromInit {
    /// In its namespaces, before any mount.
    Entered,
    /// Mounts and devices are there, and the host's tree still is.
    Mounted,
    /// A detached mount, by its index in the plan, whose ids only the host may map.
    Unmapped(u32, OwnedFd),
    /// The master of the container's terminal.
    Terminal(OwnedFd),
    /// Ready for limits that only the host may set.
    Unlimited,
    /// The listener of its seccomp filter.
    Listener(OwnedFd),
    /// The same by its number in init, from where the host takes it.
    ListenerAt(RawFd),
    /// Everything but execve is done.
    Ready,
    /// Something that is allowed to be missing is missing.
    Warning(String),
    /// The end.
    Failed(Error),
    /// Not said but found: it has ended, and has not heard the last `Go`. What it said before is still to come.
    Unheard,
}

/// Whether somebody was there to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Perhaps,
    Never,
}

/// What init has still to say beside `Ready`, each of it once: near the end others may look into that process, and speak in its name.
#[derive(Debug, Default)]
pub struct Expected {
    pub entered: bool,
    pub mounted: bool,
    pub terminal: bool,
    pub unlimited: bool,
    pub listener: bool,
    /// Indexes of mounts that came already.
    pub mapped: Vec<u32>,
}

impl Expected {
    /// Refuses what nobody waits for.
    pub fn take(&mut self, message: &FromInit) -> Result<(), Error> {
        let is_expected = match message {
            FromInit::Entered => std::mem::take(&mut self.entered),
            FromInit::Mounted => std::mem::take(&mut self.mounted),
            FromInit::Terminal(_) => std::mem::take(&mut self.terminal),
            FromInit::Unlimited => std::mem::take(&mut self.unlimited),
            FromInit::Listener(_) | FromInit::ListenerAt(_) => std::mem::take(&mut self.listener),
            FromInit::Unmapped(at, _) => {
                let is_new = !self.mapped.contains(at);
                self.mapped.push(*at);
                is_new
            }
            FromInit::Ready | FromInit::Warning(_) | FromInit::Failed(_) | FromInit::Unheard => true,
        };
        match is_expected {
            true => Ok(()),
            false => {
                let text = "talk over the socket between runtime and init: it says what was not asked for";
                Err(Error::new(Kind::Attack, text))
            }
        }
    }
}

/// The longest message.
const MOST: usize = 16 << 10;
const GO: u8 = b'g';
const NETWORK: u8 = b'n';

/// The host's end.
#[derive(Debug)]
pub struct HostEnd(OwnedFd);

/// Init's end.
#[derive(Debug)]
pub struct InitEnd(OwnedFd);

/// A new pair.
pub fn pair() -> Result<(HostEnd, InitEnd), Error> {
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    // Init's has the lower number: beside what else it keeps.
    let (init, host) = pair.map_err(|errno| Error::system("make a socket pair", errno))?;
    Ok((HostEnd(host), InitEnd(init)))
}

impl HostEnd {
    /// The next message; None at the end of file.
    pub fn receive(&self) -> Result<Option<FromInit>, Error> {
        let mut buffer = [0; MOST];
        let (count, fd) = match sys::fds::receive(&self.0, &mut buffer) {
            // The other end was closed with something unread (unix(7)).
            Err(source) if source.raw_os_error() == Some(libc::ECONNRESET) => {
                return Ok(Some(FromInit::Unheard));
            }
            other => other.map_err(broken)?,
        };
        match buffer.get(..count).and_then(<[u8]>::split_first) {
            None => Ok(None),
            Some((tag, rest)) => decode(*tag, rest, fd).map(Some),
        }
    }

    /// Hands the network namespace over. One that has failed meanwhile has said so.
    pub fn network(&self, namespace: &OwnedFd) -> Result<(), Error> {
        match sys::fds::send(&self.0, &[NETWORK], Some(namespace.as_fd())) {
            Err(source) if source.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            other => other.map_err(broken),
        }
    }

    /// Lets init go on. One that has failed meanwhile has said so: its words are still to be received.
    pub fn go(&self) -> Result<Heard, Error> {
        match sys::fds::send(&self.0, &[GO], None) {
            Err(source) if source.raw_os_error() == Some(libc::EPIPE) => Ok(Heard::Never),
            other => other.map(|()| Heard::Perhaps).map_err(broken),
        }
    }
}

impl AsFd for HostEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl InitEnd {
    /// Waits for the host. Plain read and write where no descriptor goes along: a seccomp filter may be in force already, and
    /// allows these two, if anything.
    pub fn wait(&self) -> Result<(), Error> {
        let mut buffer = [0; 2];
        match nix::unistd::read(&self.0, &mut buffer) {
            Ok(1) if buffer == [GO, 0] => Ok(()),
            Ok(_) => Err(has_ended()),
            Err(errno) => Err(broken(errno.into())),
        }
    }

    /// Waits for the network namespace that the host makes.
    pub fn network(&self) -> Result<OwnedFd, Error> {
        let mut buffer = [0; 2];
        let (count, namespace) = sys::fds::receive(&self.0, &mut buffer).map_err(broken)?;
        match (count, buffer, namespace) {
            (1, [NETWORK, 0], Some(namespace)) => Ok(namespace),
            _ => Err(has_ended()),
        }
    }

    /// Everything but execve is done.
    pub fn ready(&self) -> Result<(), Error> {
        self.write(b"r")
    }

    /// In the namespaces, before any mount.
    pub fn entered(&self) -> Result<(), Error> {
        self.write(b"e")
    }

    /// Everything is mounted, and the host's tree is still there.
    pub fn mounted(&self) -> Result<(), Error> {
        self.write(b"h")
    }

    /// Something that is allowed to be missing is missing.
    pub fn warn(&self, text: &str) -> Result<(), Error> {
        self.write(&message(b'w', text.as_bytes()))
    }

    /// Lends a mount to the host, which maps its ids.
    pub fn unmapped(&self, at: u32, mount: &OwnedFd) -> Result<(), Error> {
        let message = message(b'm', &at.to_le_bytes());
        sys::fds::send(&self.0, &message, Some(mount.as_fd())).map_err(broken)
    }

    /// Hands the terminal's master over.
    pub fn terminal(&self, master: &OwnedFd) -> Result<(), Error> {
        sys::fds::send(&self.0, b"t", Some(master.as_fd())).map_err(broken)
    }

    /// Every descriptor that is not needed is closed.
    pub fn unlimited(&self) -> Result<(), Error> {
        self.write(b"x")
    }

    /// Hands the seccomp listener over.
    pub fn listener(&self, listener: &OwnedFd) -> Result<(), Error> {
        sys::fds::send(&self.0, b"l", Some(listener.as_fd())).map_err(broken)
    }

    /// Says where the seccomp listener is.
    pub fn listener_at(&self, listener: &OwnedFd) -> Result<(), Error> {
        self.write(&message(b'n', &listener.as_raw_fd().to_le_bytes()))
    }

    /// The end. Nobody is left to tell if this fails.
    pub fn failed(&self, error: &Error) {
        drop(self.write(&message(b'f', &encode(error))));
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        nix::unistd::write(&self.0, bytes).map(drop).map_err(|errno| broken(errno.into()))
    }
}

impl AsFd for InitEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn has_ended() -> Error {
    Error::new(Kind::System, "wait for the runtime: it has ended")
}

fn broken(source: std::io::Error) -> Error {
    Error::system("talk over the socket between runtime and init", source)
}

fn message(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len() + 1);
    bytes.push(tag);
    bytes.extend_from_slice(rest);
    bytes.truncate(MOST);
    bytes
}

fn decode(tag: u8, rest: &[u8], fd: Option<OwnedFd>) -> Result<FromInit, Error> {
    match (tag, fd) {
        (b'e', None) => Ok(FromInit::Entered),
        (b'h', None) => Ok(FromInit::Mounted),
        (b'm', Some(fd)) if let Ok(at) = rest.try_into() => {
            Ok(FromInit::Unmapped(u32::from_le_bytes(at), fd))
        }
        (b'r', None) => Ok(FromInit::Ready),
        (b'w', None) => Ok(FromInit::Warning(String::from_utf8_lossy(rest).into_owned())),
        (b'f', None) => Ok(FromInit::Failed(decode_error(rest))),
        (b't', Some(fd)) => Ok(FromInit::Terminal(fd)),
        (b'x', None) => Ok(FromInit::Unlimited),
        (b'l', Some(fd)) => Ok(FromInit::Listener(fd)),
        (b'n', None) if let Ok(number) = rest.try_into() => {
            Ok(FromInit::ListenerAt(RawFd::from_le_bytes(number)))
        }
        _ => Err(Error::new(Kind::System, "talk over the socket between runtime and init: not understood")),
    }
}

/// Kind, errno, deed, NUL, hint: also what init writes into the fifo when the program cannot be started.
pub fn encode(error: &Error) -> Vec<u8> {
    let kind = match error.kind() {
        Kind::Invalid => 0,
        Kind::Unsupported => 1,
        Kind::System => 2,
        Kind::Attack => 3,
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&error.errno().unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(error.doing().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(error.hint_text().unwrap_or_default().as_bytes());
    bytes
}

/// The other way round.
pub fn decode_error(bytes: &[u8]) -> Error {
    let Some(([kind, errno @ ..], text)) = bytes.split_first_chunk::<5>() else {
        return Error::new(Kind::System, "start the container: init has ended without saying why");
    };
    let kind = match kind {
        0 => Kind::Invalid,
        1 => Kind::Unsupported,
        2 => Kind::System,
        _ => Kind::Attack,
    };
    let text = String::from_utf8_lossy(text);
    let (doing, hint) = text.split_once('\0').unwrap_or((&text, ""));
    let error = match i32::from_le_bytes(*errno) {
        0 => Error::new(kind, doing),
        errno => Error::system(doing, std::io::Error::from_raw_os_error(errno)).of_kind(kind),
    };
    match hint {
        "" => error,
        hint => error.hint(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was() {
        let errno = std::io::Error::from_raw_os_error(libc::ENOENT);
        let sent = Error::system("mount /a on /b", errno).hint("pass a source that exists");
        let got = decode_error(&encode(&sent));
        assert_eq!(got.to_string(), "mount /a on /b: no such file or directory (pass a source that exists)");
        assert_eq!(got.kind(), Kind::System);
        let sent = Error::new(Kind::Attack, "open /proc: it is a symbolic link");
        let got = decode_error(&encode(&sent));
        assert_eq!((got.to_string(), got.kind()), (sent.to_string(), Kind::Attack));
    }

    #[test]
    fn what_nobody_waits_for_is_refused() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut expected = Expected { terminal: true, ..Expected::default() };
        for (message, is_taken) in [
            (FromInit::Entered, false),
            (FromInit::Mounted, false),
            (FromInit::Terminal(null()), true),
            (FromInit::Terminal(null()), false),
            (FromInit::Unlimited, false),
            (FromInit::Listener(null()), false),
            (FromInit::ListenerAt(3), false),
            (FromInit::Unmapped(3, null()), true),
            (FromInit::Unmapped(4, null()), true),
            (FromInit::Unmapped(3, null()), false),
            (FromInit::Ready, true),
        ] {
            assert_eq!(expected.take(&message).is_ok(), is_taken, "{message:?}");
        }
    }

    #[test]
    fn a_cut_off_error_is_an_error() {
        let got = decode_error(b"\x02");
        assert_eq!(got.to_string(), "start the container: init has ended without saying why");
    }
}
