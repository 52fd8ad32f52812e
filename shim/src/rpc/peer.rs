//! One end of a connection, with what has arrived in part and what is not sent yet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::frame::{self, Frame, Taken};
use crate::sys::fd;
use crate::sys::poll::Interest;

/// A peer that lets this much pile up does not read its answers.
const BACKLOG: usize = 16 << 20;

/// Most pieces taken from one peer before others get their turn.
const TURN: usize = 512;

pub(crate) struct Peer {
    socket: OwnedFd,
    incoming: Vec<u8>,
    /// So many of the bytes that come next are the rest of a message that was too long.
    to_skip: usize,
    outgoing: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(socket: OwnedFd) -> Peer {
        Peer { socket, incoming: Vec::new(), to_skip: 0, outgoing: Vec::new() }
    }

    /// What has arrived. An error means that the peer is gone, or may as well be.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<Frame>> {
        let mut buffer = [0_u8; 8192];
        let mut frames = Vec::new();
        for _ in 0..TURN {
            match fd::read(&self.socket, &mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.keep(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            while let Some(Taken { frame, to_skip }) = frame::take(&mut self.incoming) {
                self.to_skip = to_skip;
                frames.push(frame);
            }
            if !frames.is_empty() {
                break; // level-triggered: what is left is reported again, and others get their turn
            }
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new(); // an idle connection holds no buffer
        }
        Ok(frames)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let skipped = self.to_skip.min(bytes.len());
        self.to_skip -= skipped;
        self.incoming.extend(bytes.iter().skip(skipped));
    }

    /// Sends `frame`, now or when there is room.
    pub(crate) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.outgoing.extend(frame);
        if self.outgoing.len() > BACKLOG {
            return Err(io::Error::other("the peer does not read"));
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while let Some(rest) = self.outgoing.get(sent..).filter(|rest| !rest.is_empty()) {
            match fd::write(&self.socket, rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if sent == self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..sent);
        }
        Ok(())
    }

    pub(crate) fn interest(&self) -> Interest {
        if self.outgoing.is_empty() { Interest::Read } else { Interest::Both }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
