//! Terminals.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Tells the terminal behind `master` its size; the foreground process group inside gets SIGWINCH.
pub(crate) fn resize(master: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let fd = master.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call and TIOCSWINSZ reads one winsize from a live reference.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) })?;
    Ok(())
}
