//! The host's end of a terminal, and descriptors that go to whoever called.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use std::os::fd::AsRawFd;

use crate::error::Error;
use crate::sys::fds;

/// Sends a descriptor to the stream socket at `path`, with a name for it.
pub fn send(path: &Path, name: &str, fd: impl AsFd) -> Result<(), Error> {
    let sent = (|| {
        let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        fds::send(&socket, name.as_bytes(), Some(fd.as_fd()))
    })();
    sent.map_err(|source: std::io::Error| {
        Error::system(format!("send the {name} descriptor to {}", path.display()), source)
    })
}

/// Whoever shows a terminal's output adds carriage returns itself.
pub fn clear_onlcr(master: &OwnedFd) -> Result<(), Error> {
    let cleared = tcgetattr(master).and_then(|mut settings| {
        settings.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(master, SetArg::TCSANOW, &settings)
    });
    cleared.map_err(|errno| Error::system("clear ONLCR on the terminal", errno))
}
