//! The host's end of a terminal, and descriptors that go to whoever called.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};

use crate::error::Error;
use crate::sys::{fds, tty};

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

/// Makes a terminal ready to be shown on our own, before the first byte comes: of its size, and without carriage returns, which
/// our own terminal adds.
pub fn adopt(master: &OwnedFd) -> Result<(), Error> {
    let cleared = tcgetattr(master).and_then(|mut settings| {
        settings.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(master, SetArg::TCSANOW, &settings)
    });
    cleared.map_err(|errno| Error::system("clear ONLCR on the terminal", errno))?;
    adopt_size(master);
    Ok(())
}

/// The size of our own terminal, where there is one.
pub fn adopt_size(master: &OwnedFd) {
    if let Ok(size) = tty::size(std::io::stdin()).or_else(|_| tty::size(std::io::stdout())) {
        // One that is gone meanwhile needs no size.
        drop(tty::set_size(master, size));
    }
}
