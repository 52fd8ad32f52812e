//! Children that have ended: runtimes, processes of containers, logging programs.

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::topics::{TASK_EXIT_EVENT_TOPIC, TASK_OOM_EVENT_TOPIC};
use protobuf::Message;
use protobuf::well_known_types::timestamp::Timestamp;

use super::container::Activity;
use super::jobs::{Purpose, Then};
use super::launch::Launch;
use super::{Child, Shim, init};
use crate::error::{Doing, Error};
use crate::events;
use crate::log;
use crate::process::{Exit, Key, Phase};
use crate::reap;
use crate::runtime::{CallIo, argv};
use crate::sys::wait::Ended;

pub(super) fn timestamp(exit: Exit) -> Timestamp {
    Timestamp { seconds: exit.seconds, nanos: exit.nanos, ..Timestamp::default() }
}

pub(super) fn ended_now(status: u32) -> Exit {
    let now = events::now();
    Exit { status, seconds: now.seconds, nanos: now.nanos }
}

impl Shim {
    /// Takes what has ended, until nothing has: a runtime that ended may have named a process that ended before it.
    pub(super) fn reap(&mut self) -> Result<(), Error> {
        loop {
            let found = reap::collect(&self.children, self.strangers()).doing(|| "reap children".into())?;
            if found.is_empty() {
                return Ok(());
            }
            // Runtimes last: the answer to a call must not come before the exits that it caused.
            let (jobs, others): (Vec<Ended>, Vec<Ended>) = found
                .into_iter()
                .partition(|ended| matches!(self.children.get(&ended.pid), Some(Child::Job)));
            for ended in others.into_iter().chain(jobs) {
                match self.children.remove(&ended.pid) {
                    Some(Child::Job) => self.job_ended(ended.pid, ended.status),
                    Some(Child::Process(key)) => self.process_ended(&key, ended_now(ended.status)),
                    Some(Child::Logger(key)) => self.logger_ended(&key),
                    None => {}
                }
            }
        }
    }

    fn process_ended(&mut self, key: &Key, exit: Exit) {
        let Some(container) = self.containers.get_mut(&key.container) else { return };
        let own_pids = container.own_pids;
        let Some(process) = container.processes.get_mut(&key.exec) else { return };
        if process.phase == Phase::Stopped {
            return; // it was given up before
        }
        if process.activity == Activity::Starting {
            process.held = Some(exit);
        } else if key.exec.is_empty() && !own_pids && process.phase != Phase::Created {
            self.kill_rest(key, exit);
        } else {
            self.exited(key, exit);
            self.release_lingering(&key.container);
        }
    }

    pub(super) fn release_held_exit(&mut self, key: &Key) {
        if let Some(exit) = self.process_mut(key).and_then(|process| {
            process.activity = Activity::Idle;
            process.held.take()
        }) {
            self.process_ended(key, exit);
        }
    }

    /// Without a pid namespace of its own a container's other processes outlive its init unless they are killed.
    fn kill_rest(&mut self, key: &Key, exit: Exit) {
        let Some(container) = self.containers.get(&key.container) else { return };
        self.launch(Launch {
            runtime: container.runtime.clone(),
            line: argv::kill(&key.container, 9, argv::Reach::All),
            io: CallIo::Captured { stdin: None },
            purpose: Purpose { key: key.clone(), reply: None, then: Then::KillRest(exit) },
        });
    }

    pub(super) fn rest_killed(&mut self, key: &Key, exit: Exit, result: Result<Vec<u8>, String>) {
        match (self.containers.get_mut(&key.container), result) {
            (Some(container), Ok(_)) => {
                container.lingering = Some(exit);
                self.release_lingering(&key.container);
            }
            (_, result) => {
                if let Err(text) = result {
                    log::warn(format!("container {}: kill what is left: {text}", key.container));
                }
                self.exited(key, exit); // nothing more can be done, and somebody waits for it
            }
        }
    }

    /// An exec's exit comes before that of the init it shared a pid namespace with.
    fn release_lingering(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let runs = |(exec, process): (&String, &super::Process)| {
            !exec.is_empty() && matches!(process.phase, Phase::Running | Phase::Paused)
        };
        if container.processes.iter().any(runs) {
            return;
        }
        if let Some(exit) = container.lingering.take() {
            self.exited(&init(id), exit);
        }
    }

    /// Records an exit, tells containerd, and answers those who wait for it.
    fn exited(&mut self, key: &Key, exit: Exit) {
        if key.exec.is_empty() {
            self.report_oom(&key.container);
        }
        let Some(process) = self.process_mut(key) else { return };
        process.exit = Some(exit);
        process.phase = Phase::Stopped;
        let pid = process.number();
        let waiters = std::mem::take(&mut process.waiters);
        let id = if key.exec.is_empty() { &key.container } else { &key.exec };
        let event = event::TaskExit {
            container_id: key.container.clone(),
            id: id.clone(),
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit)).into(),
            ..Default::default()
        };
        self.events.publish(TASK_EXIT_EVENT_TOPIC, &event);
        for waiter in waiters {
            self.reply(Some(waiter), Ok(wait_response(exit)));
        }
        self.close_input(key);
    }

    /// The runtime could not start it: nothing will ever end, so those who wait are told now.
    pub(super) fn never_ran(&mut self, key: &Key) {
        let Some(process) = self.process_mut(key) else { return };
        let exit = ended_now(255);
        process.exit = Some(exit);
        process.phase = Phase::Stopped;
        for waiter in std::mem::take(&mut process.waiters) {
            self.reply(Some(waiter), Ok(wait_response(exit)));
        }
        self.close_input(key);
    }

    pub(super) fn oom(&mut self, serial: u32) {
        let watched =
            self.containers.iter().find(|(_, c)| c.oom.as_ref().is_some_and(|(own, _)| *own == serial));
        if let Some(id) = watched.map(|(id, _)| id.clone()) {
            self.report_oom(&id);
        }
    }

    fn report_oom(&mut self, id: &str) {
        let Some((_, watch)) = self.containers.get_mut(id).and_then(|container| container.oom.as_mut())
        else {
            return;
        };
        if watch.fired() {
            let event = event::TaskOOM { container_id: id.to_owned(), ..Default::default() };
            self.events.publish(TASK_OOM_EVENT_TOPIC, &event);
        }
    }
}

pub(super) fn wait_response(exit: Exit) -> Vec<u8> {
    let response = api::WaitResponse {
        exit_status: exit.status,
        exited_at: Some(timestamp(exit)).into(),
        ..Default::default()
    };
    response.write_to_bytes().unwrap_or_default()
}
