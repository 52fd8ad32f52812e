//! Lines for containerd's log: the daemon's standard error is the `log` fifo that containerd reads.

use std::fmt::Display;
use std::io::Write;

/// Says that something went wrong which no caller can be told. A full or absent fifo loses the line, never blocks.
pub(crate) fn warn(text: impl Display) {
    let line = format!("level=warning msg={:?}\n", text.to_string());
    drop(std::io::stderr().write_all(line.as_bytes()));
}
