//! Moving bytes from one descriptor to another as fast as the slower side allows.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::process::Key;
use crate::source::Source;
use crate::sys::fd;
use crate::sys::poll::{Interest, Poll};

const BUFFER: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Input,
    Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Both sides are pipes: the kernel moves the pages, nothing is copied.
    Splice,
    Copy,
}

pub(crate) struct Pump {
    pub(crate) from: OwnedFd,
    pub(crate) to: OwnedFd,
    pub(crate) way: Way,
    pub(crate) direction: Direction,
    /// Read from one side, not yet taken by the other.
    left: Vec<u8>,
    waits_for: Side,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    From,
    To,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Wait(Side),
    Done,
}

impl Pump {
    pub(crate) fn new(from: OwnedFd, to: OwnedFd, way: Way, direction: Direction) -> Pump {
        Pump { from, to, way, direction, left: Vec::new(), waits_for: Side::From }
    }

    /// One move. The poll is level-triggered, so there is no need to go on until nothing is left, and the other streams
    /// get their turn.
    fn step(&mut self) -> Step {
        match self.way {
            // The poll said that this side is ready, so "would block" can only be about the other one.
            Way::Splice if self.waits_for == Side::To => Step::Wait(Side::From),
            Way::Splice => match fd::splice_pipes(&self.from, &self.to) {
                Ok(0) => Step::Done,
                Ok(_) => Step::Wait(Side::From),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Wait(Side::To),
                Err(_) => Step::Done,
            },
            Way::Copy => self.copy(),
        }
    }

    fn copy(&mut self) -> Step {
        if self.left.is_empty() {
            let mut buffer = [0_u8; BUFFER];
            match fd::read(&self.from, &mut buffer) {
                Ok(0) => return Step::Done,
                Ok(count) => self.left.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait(Side::From),
                Err(_) => return Step::Done, // EIO: nobody has the terminal open any more
            }
        }
        while !self.left.is_empty() {
            match fd::write(&self.to, &self.left) {
                Ok(count) => drop(self.left.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait(Side::To),
                Err(_) => return Step::Done,
            }
        }
        self.left = Vec::new();
        Step::Wait(Side::From)
    }

    fn polled(&self) -> (BorrowedFd<'_>, Interest) {
        match self.waits_for {
            Side::From => (self.from.as_fd(), Interest::Read),
            Side::To => (self.to.as_fd(), Interest::Write),
        }
    }
}

/// All pumps of the shim, each with the process it serves.
#[derive(Default)]
pub(crate) struct Pumps {
    pumps: BTreeMap<u32, (Key, Pump)>,
    serial: u32,
}

impl Pumps {
    pub(crate) fn add(&mut self, poll: &Poll, owner: Key, pump: Pump) -> io::Result<u32> {
        self.serial = self.serial.wrapping_add(1);
        let (fd, interest) = pump.polled();
        poll.add(fd, interest, Source::Pump(self.serial).token())?;
        self.pumps.insert(self.serial, (owner, pump));
        Ok(self.serial)
    }

    /// Lets a pump work; if that was its last move, it is gone and its process is told.
    pub(crate) fn ready(&mut self, poll: &Poll, serial: u32) -> Option<(Key, Direction)> {
        let (owner, pump) = self.pumps.get_mut(&serial)?;
        let before = pump.waits_for;
        let finished = (owner.clone(), pump.direction);
        match pump.step() {
            Step::Wait(side) if side == before => return None,
            Step::Wait(side) => {
                // Not "interested in nothing": a hang-up is reported even then, for ever.
                let removed = poll.remove(pump.polled().0);
                pump.waits_for = side;
                let (fd, interest) = pump.polled();
                if removed.and_then(|()| poll.add(fd, interest, Source::Pump(serial).token())).is_ok() {
                    return None;
                }
            }
            Step::Done => {}
        }
        self.remove(poll, serial);
        Some(finished)
    }

    /// Stops a pump. Its descriptors leave the poll first: a copy of one that a starting child still holds would keep it there.
    pub(crate) fn remove(&mut self, poll: &Poll, serial: u32) {
        if let Some((_, pump)) = self.pumps.remove(&serial) {
            drop(poll.remove(pump.polled().0));
        }
    }
}
