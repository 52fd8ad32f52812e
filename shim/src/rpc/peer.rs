//! One end of a connection, with what has arrived in part and what is not sent yet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::frame::{self, Frame};
use crate::sys::fd;
use crate::sys::poll::Interest;

/// A peer that lets this much pile up does not read its answers.
const BACKLOG: usize = 16 << 20;

pub(crate) struct Peer {
    socket: OwnedFd,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(socket: OwnedFd) -> Peer {
        Peer { socket, incoming: Vec::new(), outgoing: Vec::new() }
    }

    /// What has arrived. An error means that the peer is gone, or may as well be.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<Frame>> {
        let mut buffer = [0_u8; 8192];
        let mut frames = Vec::new();
        loop {
            match fd::read(&self.socket, &mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.incoming.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            while let Some(frame) = frame::take(&mut self.incoming)? {
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
