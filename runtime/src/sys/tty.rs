//! Pseudo terminals.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{check, owned};

/// Lets the other end be opened.
pub fn unlock(master: impl AsFd) -> io::Result<()> {
    let lock: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    let result = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSPTLCK, &raw const lock) };
    check(result.into()).map(drop)
}

/// Opens the other end by the master, not by a path that somebody could have changed.
pub fn peer(master: impl AsFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes its argument by value.
    let result = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) };
    owned(result.into())
}

/// Rows and columns.
pub fn set_size(terminal: impl AsFd, (rows, columns): (u16, u16)) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    check(result.into()).map(drop)
}

/// Rows and columns.
pub fn size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    check(result.into()).map(|_| (size.ws_row, size.ws_col))
}

/// Makes it the controlling terminal of the session that the caller leads.
pub fn take(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: this request takes its argument by value.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    check(result.into()).map(drop)
}
