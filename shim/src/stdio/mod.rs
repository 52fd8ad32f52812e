//! A process's standard streams, between containerd's fifos, files or logging programs and the container.
//!
//! Invariant: a stream holds at most one pipe and 16 KiB of unsent bytes, whoever does not read; and what a process wrote
//! before it ended is passed on before its stream is closed. No process is started before its output has where to go.

mod console;
mod logger;
mod open;
mod pump;
mod reader;
mod target;

pub(crate) use console::ConsoleSocket;
pub(crate) use open::{Awaited, Opened, Wanted, open};
pub(crate) use pump::{Direction, Pumps};

use std::os::fd::OwnedFd;

use nix::unistd::Pid;

/// Where a client wants the streams of a process: URIs, fifos, or nothing.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// What the shim holds of a started process's streams.
#[derive(Default)]
pub(crate) struct Streams {
    /// Pumps of output that are not at its end yet.
    pub(crate) outputs: Vec<u32>,
    pub(crate) input: Option<u32>,
    /// Keeps the stdin fifo from ending when a client goes away; `CloseIO` drops it.
    pub(crate) stdin_keeper: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
    /// The terminal's other side, open until the process has ended: one that closes its console to open it again, as inits and
    /// gettys do, does not end its streams.
    pub(crate) terminal_keeper: Option<OwnedFd>,
    pub(crate) logger: Option<Pid>,
}

impl Streams {
    pub(crate) fn is_drained(&self) -> bool {
        self.outputs.is_empty() && self.logger.is_none()
    }
}
