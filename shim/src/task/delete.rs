//! Delete: the runtime's part, the last output, the mounts, and then the record.

use std::time::{Duration, Instant};

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::topics::TASK_DELETE_EVENT_TOPIC;
use protobuf::Message;

use super::container::Activity;
use super::create;
use super::exits::{ended_now, timestamp, wait_response};
use super::jobs::{Purpose, Then};
use super::launch::Launch;
use super::{Outcome, Reply, Shim};
use crate::error::{Error, Kind};
use crate::mounts;
use crate::process::{Key, Verb};
use crate::runtime::{CallIo, argv};

/// How long output may go on after the last word of a process: a child that it left behind can hold the streams open for ever.
/// containerd's own shim gives as much since 2.2, and as much to a logging program once its input has ended.
const GRACE: Duration = Duration::from_secs(10);

/// How often what is left of a deleted process is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long a reader may rest while what the process itself wrote is not passed on yet.
const REST: Duration = Duration::from_secs(10);

/// The longest that anybody's last words can hold a deletion.
const CEILING: Duration = Duration::from_secs(60);

/// A process that is deleted as soon as its output is passed on, or when its time is over: looked at every `LOOK`.
pub(super) struct Leaving {
    key: Key,
    reply: Option<Reply>,
    since: Instant,
    /// What is not passed on yet of what had been written when the deletion was asked for: the process has ended, so this has
    /// all that it wrote, and no child can add to it. When a stream is at its end, what the client's fifo holds of it.
    owed: usize,
    /// When `owed` was last seen to be another than before.
    moved: Instant,
    pub(super) deadline: Instant,
}

impl Leaving {
    /// Whether there is something to wait for, given what is still owed.
    fn stays(&mut self, owed: usize, now: Instant) -> bool {
        if owed != self.owed {
            (self.owed, self.moved) = (owed, now);
        }
        self.deadline = now + LOOK;
        let waited = now.duration_since(self.since);
        let reads = owed > 0 && now.duration_since(self.moved) < REST && waited < CEILING;
        reads || waited < GRACE
    }
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
        let Some(streams) = self.process_mut(&key).map(|process| &process.streams) else {
            return self.left(&key, reply);
        };
        if streams.is_drained() {
            return self.left(&key, reply);
        }
        let outputs = streams.outputs.clone();
        self.pumps.count(&outputs);
        let (owed, now) = (self.pumps.owed(&outputs), Instant::now());
        self.leaving.push(Leaving { key, reply, since: now, owed, moved: now, deadline: now + LOOK });
    }

    pub(super) fn leave_if_drained(&mut self, key: &Key) {
        if !self.process_mut(key).is_none_or(|process| process.streams.is_drained()) {
            return;
        }
        if let Some(index) = self.leaving.iter().position(|leaving| leaving.key == *key) {
            let Leaving { key, reply, .. } = self.leaving.swap_remove(index);
            self.left(&key, reply);
        }
    }

    pub(super) fn leave_those_overdue(&mut self) {
        let now = Instant::now();
        let (overdue, rest): (Vec<Leaving>, Vec<Leaving>) =
            std::mem::take(&mut self.leaving).into_iter().partition(|leaving| leaving.deadline <= now);
        self.leaving = rest;
        for mut leaving in overdue {
            let process = self.process_mut(&leaving.key);
            let outputs = process.map(|process| process.streams.outputs.clone()).unwrap_or_default();
            if leaving.stays(self.pumps.owed(&outputs), now) {
                self.leaving.push(leaving);
            } else {
                self.left(&leaving.key, leaving.reply);
            }
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
        for waiter in process.waiters {
            let exit = exit.unwrap_or_else(|| ended_now(137));
            self.reply(Some(waiter), Ok(wait_response(exit)));
        }
        for (reply, call) in process.queue {
            self.handle(reply, call); // answered with "not found"
        }
        response(pid, exit)
    }

    fn remove_container(&mut self, key: &Key) -> Result<Vec<u8>, Error> {
        let container = self.container(&key.container)?;
        mounts::unmount_under(&container.bundle.join("rootfs"))?;
        create::forget(&container.bundle);
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
                self.reply(Some(waiter), Ok(wait_response(exit)));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(owed: usize) -> Leaving {
        let (key, now) = (Key { container: "c".into(), exec: String::new() }, Instant::now());
        Leaving { key, reply: None, since: now, owed, moved: now, deadline: now + LOOK }
    }

    /// How many seconds a process stays when each look, two seconds after the last, finds what `owed` gives for it.
    fn seconds(mut leaving: Leaving, mut owed: impl FnMut(u64) -> usize) -> u64 {
        let since = leaving.since;
        (1..)
            .map(|look| look * LOOK.as_secs())
            .find(|second| !leaving.stays(owed(*second), since + Duration::from_secs(*second)))
            .unwrap_or(u64::MAX)
    }

    #[test]
    fn a_deletion_waits_for_what_is_owed_and_for_nothing_else() {
        assert_eq!(
            seconds(leaving(0), |_| 0),
            10,
            "a child holds the streams, or a logging program does not end"
        );
        assert_eq!(seconds(leaving(7), |_| 0), 10, "it is passed on, and a child holds the streams");
        assert_eq!(seconds(leaving(7), |_| 7), 10, "nobody reads");
        let mut left = 5;
        let slow = |second| {
            left -= usize::from(second % 8 == 0);
            left
        };
        assert_eq!(seconds(leaving(5), slow), 40, "somebody reads a little every eight seconds");
        let mut left = 1000;
        let slower = |_| {
            left -= 1;
            left
        };
        assert_eq!(seconds(leaving(1000), slower), 60, "too little");
    }
}
