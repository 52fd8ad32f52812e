//! Moving bytes from one descriptor to another as fast as the slower side allows.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::reader::Unread;
use crate::error::Error;
use crate::log;
use crate::process::Key;
use crate::source::Source;
use crate::sys::fd;
use crate::sys::poll::{Interest, Poll};

const BUFFER: usize = 16 * 1024;

/// How soon to look again at a stream of which no poll tells.
const GLANCE: Duration = Duration::from_millis(50);

/// What a terminal holds of a process's output beyond what it tells: the kernel's buffers between its two sides (tty_buffer.c).
const UNTOLD: usize = 64 * 1024;

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
    /// Of what was written when somebody last asked, so much is not passed on yet.
    owed: usize,
    waits_for: Side,
    /// Whether it was said that something could not be written.
    complained: bool,
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
        Pump { from, to, way, direction, left: Vec::new(), owed: 0, waits_for: Side::From, complained: false }
    }

    /// One move. The poll is level-triggered, so there is no need to go on until nothing is left, and the other streams
    /// get their turn.
    fn step(&mut self) -> Step {
        match self.way {
            // The poll said that this side is ready, so "would block" can only be about the other one.
            Way::Splice if self.waits_for == Side::To => Step::Wait(Side::From),
            Way::Splice => match fd::splice_pipes(&self.from, &self.to) {
                Ok(0) => Step::Done,
                Ok(count) => {
                    self.owed = self.owed.saturating_sub(count);
                    Step::Wait(Side::From)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Wait(Side::To),
                // Which of the two sides it is about shows when it is done by hand.
                Err(_) if self.direction == Direction::Output => {
                    self.way = Way::Copy;
                    self.copy()
                }
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
                Ok(count) => {
                    self.left.drain(..count);
                    self.owed = self.owed.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Wait(Side::To),
                Err(_) if self.direction == Direction::Input => return Step::Done,
                Err(error) => self.lose(error),
            }
        }
        self.left = Vec::new();
        Step::Wait(Side::From)
    }

    /// What cannot be written now is lost, as on a full disk; what comes later may find room again. That a log is full is no reason to
    /// close the container's output, which ends most programs.
    fn lose(&mut self, error: io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            log::warn(Error::system("output is lost: write it", error));
        }
        self.owed = self.owed.saturating_sub(self.left.len());
        self.left.clear();
    }

    /// Everything that has been written until now is owed.
    fn count(&mut self) {
        let told = self.left.len() + fd::pending(&self.from).unwrap_or(0);
        // With a reader that keeps up there is nothing in between.
        let untold = if told > 0 && self.from.is_terminal() { UNTOLD } else { 0 };
        self.owed = told + untold;
    }

    fn polled(&self) -> (BorrowedFd<'_>, Interest) {
        match self.waits_for {
            Side::From => (self.from.as_fd(), Interest::Read),
            Side::To => (self.to.as_fd(), Interest::Write),
        }
    }
}

/// A stream on its way to the one who reads it.
enum Flow {
    Moves(Pump),
    /// All of it was moved into the client's fifo.
    Arrived(Unread),
}

impl Flow {
    fn polled(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        match self {
            Flow::Moves(pump) => Some(pump.polled()),
            Flow::Arrived(unread) => unread.polled().map(|fd| (fd, Interest::Read)),
        }
    }

    fn owed(&self) -> usize {
        match self {
            Flow::Moves(pump) => pump.owed,
            Flow::Arrived(unread) => unread.count(),
        }
    }
}

/// All pumps of the shim, each with the process it serves.
#[derive(Default)]
pub(crate) struct Pumps {
    flows: BTreeMap<u32, (Key, Flow)>,
    serial: u32,
    /// When to look at the streams of which no poll tells.
    pub(crate) look_at: Option<Instant>,
}

impl Pumps {
    pub(crate) fn add(&mut self, poll: &Poll, owner: Key, pump: Pump) -> io::Result<u32> {
        self.serial = self.serial.wrapping_add(1);
        self.watch(poll, self.serial, (owner, Flow::Moves(pump)))?;
        Ok(self.serial)
    }

    fn watch(&mut self, poll: &Poll, serial: u32, owned: (Key, Flow)) -> io::Result<()> {
        match owned.1.polled() {
            Some((fd, interest)) => poll.add(fd, interest, Source::Pump(serial).token())?,
            None => self.look_at = Some(Instant::now() + GLANCE),
        }
        self.flows.insert(serial, owned);
        Ok(())
    }

    /// Lets a pump work; when that was its last move and its reader has everything, it is gone and its process is told.
    pub(crate) fn ready(&mut self, poll: &Poll, serial: u32) -> Option<(Key, Direction)> {
        let (owner, flow) = self.flows.get_mut(&serial)?;
        let pump = match flow {
            Flow::Moves(pump) => pump,
            Flow::Arrived(unread) if unread.count() > 0 => return None,
            Flow::Arrived(_) => {
                let owner = owner.clone();
                self.remove(poll, serial);
                return Some((owner, Direction::Output));
            }
        };
        let before = pump.waits_for;
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
        let (owner, Flow::Moves(Pump { to, direction, .. })) = self.take(poll, serial)? else { return None };
        // Where it cannot be told whether something is unread, nothing is waited for.
        if direction == Direction::Output
            && let Ok(Some(unread)) = Unread::of(to)
            && self.watch(poll, serial, (owner.clone(), Flow::Arrived(unread))).is_ok()
        {
            return None;
        }
        Some((owner, direction))
    }

    /// Those that may have something to do though no poll has told of them, when it is time to look.
    pub(crate) fn overlooked(&mut self) -> Vec<u32> {
        if self.look_at.take_if(|at| Instant::now() >= *at).is_none() {
            return Vec::new();
        }
        let overlooked = self.flows.iter().filter(|(_, (_, flow))| flow.polled().is_none());
        let serials: Vec<u32> = overlooked.map(|(serial, _)| *serial).collect();
        self.look_at = (!serials.is_empty()).then(|| Instant::now() + GLANCE);
        serials
    }

    /// From now on, what has been written until now is owed to these streams' readers.
    pub(crate) fn count(&mut self, serials: &[u32]) {
        for serial in serials {
            if let Some((_, Flow::Moves(pump))) = self.flows.get_mut(serial) {
                pump.count();
            }
        }
    }

    /// How much of that is not passed on yet.
    pub(crate) fn owed(&self, serials: &[u32]) -> usize {
        serials.iter().filter_map(|serial| self.flows.get(serial)).map(|(_, flow)| flow.owed()).sum()
    }

    /// Stops a stream.
    pub(crate) fn remove(&mut self, poll: &Poll, serial: u32) {
        drop(self.take(poll, serial));
    }

    /// Its descriptors leave the poll first: a copy of one that a starting child still holds would keep it there.
    fn take(&mut self, poll: &Poll, serial: u32) -> Option<(Key, Flow)> {
        let (owner, flow) = self.flows.remove(&serial)?;
        if let Some((fd, _)) = flow.polled() {
            drop(poll.remove(fd));
        }
        Some((owner, flow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_the_count_is_owed_and_nothing_else() {
        let (from, to) = (fd::pipe().unwrap(), fd::pipe().unwrap());
        fd::write(&from.write, b"12345").unwrap();
        let mut pump = Pump::new(from.read, to.write, Way::Splice, Direction::Output);
        pump.count();
        assert_eq!(pump.owed, 5);
        fd::write(&from.write, b"later").unwrap();
        assert_eq!(pump.step(), Step::Wait(Side::From));
        assert_eq!(pump.owed, 0);
        pump.count();
        assert_eq!(pump.owed, 0);
    }

    #[test]
    fn output_that_cannot_be_written_is_lost_and_the_stream_goes_on() {
        let from = fd::pipe().unwrap();
        fd::set_nonblocking(&from.read).unwrap();
        let full = fd::open_path(std::path::Path::new("/dev/full"), nix::fcntl::OFlag::O_WRONLY).unwrap();
        let mut pump = Pump::new(from.read, full, Way::Copy, Direction::Output);
        for _ in 0..2 {
            fd::write(&from.write, b"12345").unwrap();
            pump.count();
            assert_eq!((pump.step(), pump.owed), (Step::Wait(Side::From), 0));
        }
        drop(from.write);
        assert_eq!(pump.step(), Step::Done);
    }

    #[test]
    fn what_the_other_side_has_not_taken_is_owed() {
        let (from, to) = (fd::pipe().unwrap(), fd::pipe().unwrap());
        fd::set_nonblocking(&to.write).unwrap();
        while fd::write(&to.write, &[0; BUFFER]).is_ok() {}
        fd::write(&from.write, b"12345").unwrap();
        let mut pump = Pump::new(from.read, to.write, Way::Copy, Direction::Output);
        assert_eq!(pump.step(), Step::Wait(Side::To));
        pump.count();
        assert_eq!(pump.owed, 5);
        while fd::pending(&to.read).unwrap() > 0 {
            fd::read(&to.read, &mut [0; BUFFER]).unwrap();
        }
        drop(from.write);
        assert_eq!(pump.step(), Step::Wait(Side::From));
        assert_eq!(pump.owed, 0);
    }
}
