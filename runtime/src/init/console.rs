//! The container's terminal: its master goes to the host, its other end becomes /dev/console and standard input and output.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;

use super::place::{self, Kind};
use super::sources::clone_of;
use crate::error::Error;
use crate::plan::mount_options::Tree;
use crate::plan::process::{Terminal, User};
use crate::sys::{fds, mount, path, tty};
use crate::wire::InitEnd;

/// Makes a terminal of the container's own devpts and hands its master over; gives the other end.
pub fn open(terminal: Terminal, root: &OwnedFd, wire: &InitEnd) -> Result<OwnedFd, Error> {
    let (master, peer) = pair(root).map_err(|source| {
        Error::system("make a terminal from /dev/pts/ptmx in the container", source)
            .hint("the container needs a devpts at /dev/pts")
    })?;
    if let Some(size) = terminal.size {
        tty::set_size(&peer, size).map_err(|source| Error::system("set the size of the terminal", source))?;
    }
    wire.terminal(&master)?;
    Ok(peer)
}

fn pair(root: &OwnedFd) -> std::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = path::open_in(root, Path::new("/dev/pts/ptmx"), flags)?;
    tty::unlock(&master)?;
    let peer = tty::peer(&master)?;
    Ok((master, peer))
}

/// Binds it by descriptor: the name in /dev/pts could be anything by now (CVE-2025-52565).
pub fn bind_console(peer: &OwnedFd, root: &OwnedFd) -> Result<(), Error> {
    let bound = place::open(root, Path::new("/dev/console"), Kind::File)
        .and_then(|place| mount::attach(clone_of(peer, Tree::One)?, &place.fd));
    bound.map_err(|source| Error::system("bind the terminal on /dev/console", source))
}

/// Makes it the session's terminal and the standard streams.
pub fn take(peer: &OwnedFd, user: &User) -> Result<(), Error> {
    let taken = (|| {
        tty::take(peer)?;
        for number in 0..3 {
            fds::replace_stdio(peer, number)?;
        }
        let owner = Some(nix::unistd::Uid::from_raw(user.uid));
        match nix::unistd::fchown(peer, owner, None) {
            // An id that this user namespace has not: the terminal stays root's.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::EPERM) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    })();
    taken.map_err(|source: std::io::Error| Error::system("take the terminal", source))
}
