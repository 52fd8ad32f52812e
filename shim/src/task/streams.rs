//! A process's streams, from the moment it runs until it has left.

use super::{Child, Shim};
use crate::error::{Doing, Error};
use crate::process::Key;
use crate::stdio::{Direction, Opened, Streams};

impl Shim {
    /// Sets the pumps of a process in motion.
    pub(super) fn run_streams(&mut self, key: &Key, mut opened: Opened) -> Result<(), Error> {
        let mut streams = Streams { stdin_keeper: opened.stdin_keeper.take(), ..Streams::default() };
        if let Some(console) = opened.console.take() {
            let master = console.receive()?;
            opened.attach(&master)?;
            streams.terminal = Some(master);
        }
        // Unless it has ended already, and was reaped.
        streams.logger = opened
            .logger
            .filter(|pid| self.children.get(pid).is_some_and(|child| matches!(child, Child::Logger(_))));
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

    pub(super) fn pump_ended(&mut self, owner: &Key, serial: u32, direction: Direction) {
        let Some(process) = self.process_mut(owner) else { return };
        match direction {
            Direction::Input => process.streams.input = None,
            Direction::Output => process.streams.outputs.retain(|output| *output != serial),
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
        if let Some(input) = process.streams.input.take() {
            self.pumps.remove(&self.poll, input);
        }
    }

    pub(super) fn close_streams(&mut self, streams: Streams) {
        for serial in streams.outputs.into_iter().chain(streams.input) {
            self.pumps.remove(&self.poll, serial);
        }
        if let Some(pid) = streams.logger {
            drop(crate::sys::wait::kill(pid, 15)); // still there after its grace: it missed the end of its input
        }
    }
}
