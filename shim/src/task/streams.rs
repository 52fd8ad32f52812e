//! A process's streams, from the moment it runs until it has left.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::{Child, Shim};
use crate::error::{Doing, Error};
use crate::log;
use crate::process::Key;
use crate::stdio::{Direction, Opened, Streams};
use crate::sys::{tty, wait};

const TERM: u32 = 15;
const KILL: u32 = 9;

/// What a logging program that was asked to end may still do.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Shim {
    /// Sets the pumps of a process in motion.
    pub(super) fn run_streams(&mut self, key: &Key, mut opened: Opened) -> Result<(), Error> {
        let mut streams = Streams { stdin_keeper: opened.stdin_keeper.take(), ..Streams::default() };
        if let Some(console) = opened.console.take() {
            let master = console.receive()?;
            opened.attach(&master)?;
            streams.terminal_keeper = tty::peer(&master)
                .map_err(|error| {
                    log::warn(format!("the terminal ends when it is closed for the first time: {error}"))
                })
                .ok();
            streams.terminal = Some(master);
        }
        // Unless it has ended already, and was reaped.
        streams.logger = opened.logger.filter(|pid| self.is_logger(*pid));
        for pump in opened.pumps {
            let direction = pump.direction;
            let serial = self.pumps.add(&self.poll, key.clone(), pump).doing(|| "watch a stream".into())?;
            match direction {
                Direction::Input => streams.input = Some(serial),
                Direction::Output => streams.outputs.push(serial),
            }
        }
        let process = self.process(key)?;
        if process.stdin_closed {
            streams.stdin_keeper = None;
        }
        process.streams = streams;
        Ok(())
    }

    pub(super) fn pump(&mut self, serial: u32) {
        if let Some((owner, direction)) = self.pumps.ready(&self.poll, serial) {
            self.pump_ended(&owner, serial, direction);
        }
    }

    fn pump_ended(&mut self, owner: &Key, serial: u32, direction: Direction) {
        let Some(process) = self.process_mut(owner) else { return };
        match direction {
            Direction::Input if process.streams.terminal.is_some() && process.stdin_closed => {
                process.streams.input = None;
                return self.hang_up_terminal(owner);
            }
            Direction::Input => process.streams.input = None,
            Direction::Output => process.streams.outputs.retain(|output| *output != serial),
        }
        self.leave_if_drained(owner);
    }

    /// The client has nothing more to say: whoever reads from the terminal learns it as from one whose line was cut.
    fn hang_up_terminal(&mut self, owner: &Key) {
        let Some(process) = self.process_mut(owner) else { return };
        process.streams.terminal = None;
        process.streams.terminal_keeper = None;
        for output in std::mem::take(&mut process.streams.outputs) {
            self.pumps.remove(&self.poll, output);
        }
        self.leave_if_drained(owner);
    }

    pub(super) fn logger_ended(&mut self, owner: &Key) {
        if let Some(process) = self.process_mut(owner) {
            process.streams.logger = None;
            self.leave_if_drained(owner);
        }
    }

    /// Nothing more goes to a process that has ended; what came from it may still be on its way.
    pub(super) fn close_input(&mut self, key: &Key) {
        let Some(process) = self.process_mut(key) else { return };
        process.streams.stdin_keeper = None;
        process.streams.terminal_keeper = None;
        if let Some(input) = process.streams.input.take() {
            self.pumps.remove(&self.poll, input);
        }
    }

    pub(super) fn close_streams(&mut self, streams: Streams) {
        for serial in streams.outputs.into_iter().chain(streams.input) {
            self.pumps.remove(&self.poll, serial);
        }
        self.dismiss(streams.logger); // still there after its grace: it missed the end of its input
    }

    /// Ends a logging program: it is asked first.
    pub(super) fn dismiss(&mut self, logger: Option<Pid>) {
        // One that has ended and was reaped has left its number to somebody else.
        if let Some(pid) = logger.filter(|pid| self.is_logger(*pid)) {
            drop(wait::kill(pid, TERM));
            self.dismissed.push((pid, Instant::now() + LAST_WORDS));
        }
    }

    /// Those that were asked and did not go.
    pub(super) fn end_the_stubborn(&mut self) {
        let now = Instant::now();
        let (overdue, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.dismissed).into_iter().partition(|(_, at)| *at <= now);
        for (pid, _) in overdue {
            if self.is_logger(pid) {
                drop(wait::kill(pid, KILL));
            }
        }
        self.dismissed = rest;
        self.dismissed.retain(|(pid, _)| matches!(self.children.get(pid), Some(Child::Logger(_))));
    }

    fn is_logger(&self, pid: Pid) -> bool {
        matches!(self.children.get(&pid), Some(Child::Logger(_)))
    }
}
