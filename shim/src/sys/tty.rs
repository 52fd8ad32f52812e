//! Terminals.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Tells the terminal behind `master` its size; the foreground process group inside gets SIGWINCH.
pub(crate) fn resize(master: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let fd = master.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call and TIOCSWINSZ reads one winsize from a live reference.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) })?;
    Ok(())
}

/// The other side of the terminal behind `master`: the one that programs have open, whatever file system its name is in.
pub(crate) fn peer(master: impl AsFd) -> io::Result<OwnedFd> {
    // Not as this process's own terminal: the shim leads a session.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = master.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call and TIOCGPTPEER takes a number.
    let raw = Errno::result(unsafe { libc::ioctl(fd, libc::TIOCGPTPEER, flags.bits()) })?;
    // SAFETY: TIOCGPTPEER returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
