//! Delete: the runtime's part, the last output, the mounts, and then the record.

use std::time::{Duration, Instant};

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::topics::TASK_DELETE_EVENT_TOPIC;
use protobuf::Message;

use super::container::Activity;
use super::exits::{ended_now, timestamp};
use super::jobs::{Launch, Purpose, Then};
use super::{Outcome, Reply, Shim};
use crate::error::{Error, Kind};
use crate::log;
use crate::mounts;
use crate::options;
use crate::process::{Key, Verb};
use crate::runtime::{CallIo, argv};

/// How long the rest of a process's output may take: a child that it left behind can hold the streams open for ever.
const GRACE: Duration = Duration::from_secs(2);

/// A process that is deleted as soon as its output is passed on, or at the deadline.
pub(super) struct Leaving {
    key: Key,
    reply: Option<Reply>,
    pub(super) deadline: Instant,
}

impl Shim {
    pub(super) fn delete(&mut self, reply: Reply, request: &api::DeleteRequest) -> Result<Outcome, Error> {
        let key = Key { container: request.id.clone(), exec: request.exec_id.clone() };
        let process = self.process(&key)?;
        process.phase.allows(Verb::Delete)?;
        process.activity = Activity::Busy;
        if key.exec.is_empty() && process.prepared.is_none() {
            let runtime = self.container(&key.container)?.runtime.clone();
            let line = argv::delete(&key.container);
            let io = CallIo::Captured { stdin: None };
            let purpose = Purpose { key, reply: Some(reply), then: Then::Delete };
            self.launch(Launch { runtime, line, io, purpose });
        } else {
            self.leave(key, Some(reply));
        }
        Ok(Outcome::Later)
    }

    /// Lets a process go, when its output is through.
    pub(super) fn leave(&mut self, key: Key, reply: Option<Reply>) {
        let drained = self.process_mut(&key).is_none_or(|process| process.streams.is_drained());
        if drained {
            self.left(&key, reply);
        } else {
            self.leaving.push(Leaving { key, reply, deadline: Instant::now() + GRACE });
        }
    }

    pub(super) fn leave_if_drained(&mut self, key: &Key) {
        if let Some(index) = self.leaving.iter().position(|leaving| leaving.key == *key) {
            let Leaving { key, reply, deadline } = self.leaving.swap_remove(index);
            if self.process_mut(&key).is_none_or(|process| process.streams.is_drained()) {
                self.left(&key, reply);
            } else {
                self.leaving.push(Leaving { key, reply, deadline });
            }
        }
    }

    pub(super) fn leave_those_overdue(&mut self) {
        let now = Instant::now();
        let (overdue, rest): (Vec<Leaving>, Vec<Leaving>) =
            std::mem::take(&mut self.leaving).into_iter().partition(|leaving| leaving.deadline <= now);
        self.leaving = rest;
        for Leaving { key, reply, .. } in overdue {
            self.left(&key, reply);
        }
    }

    fn left(&mut self, key: &Key, reply: Option<Reply>) {
        let result = if key.exec.is_empty() { self.remove_container(key) } else { self.remove_process(key) };
        let failed = result.is_err();
        self.reply(reply, result);
        if failed {
            self.unqueue(key);
        }
    }

    fn remove_process(&mut self, key: &Key) -> Result<Vec<u8>, Error> {
        let process = self.container(&key.container)?.processes.remove(&key.exec);
        let process =
            process.ok_or_else(|| Error::new(Kind::NotFound, format!("process {}: it is gone", key.exec)))?;
        let pid = process.number();
        let exit = process.exit;
        self.close_streams(process.streams);
        for (reply, call) in process.queue {
            self.handle(reply, call); // answered with "not found"
        }
        response(pid, exit)
    }

    fn remove_container(&mut self, key: &Key) -> Result<Vec<u8>, Error> {
        let container = self.container(&key.container)?;
        mounts::unmount_under(&container.bundle.join("rootfs"))?;
        if let Err(error) = options::forget(&container.bundle) {
            log::warn(error);
        }
        let mut container = self
            .containers
            .remove(&key.container)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("container {}: it is gone", key.container)))?;
        if let Some((_, watch)) = &container.oom {
            drop(self.poll.remove(watch));
        }
        let init = container.processes.remove("");
        let (pid, exit) = init.as_ref().map_or((0, None), |process| (process.number(), process.exit));
        self.idle_since = Instant::now();
        for process in init.into_iter().chain(container.processes.into_values()) {
            self.close_streams(process.streams);
            for waiter in process.waiters {
                let exit = process.exit.unwrap_or_else(|| ended_now(137));
                self.reply(Some(waiter), Ok(super::exits::wait_response(exit)));
            }
            for (reply, call) in process.queue {
                self.handle(reply, call);
            }
        }
        let exit = exit.unwrap_or_else(|| ended_now(137));
        let deleted = event::TaskDelete {
            container_id: key.container.clone(),
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit)).into(),
            ..Default::default()
        };
        self.events.publish(TASK_DELETE_EVENT_TOPIC, &deleted);
        response(pid, Some(exit))
    }
}

fn response(pid: u32, exit: Option<crate::process::Exit>) -> Result<Vec<u8>, Error> {
    let response = api::DeleteResponse {
        pid,
        exit_status: exit.map_or(0, |exit| exit.status),
        exited_at: exit.map(timestamp).into(),
        ..Default::default()
    };
    response.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode an answer: {e}")))
}
