//! Runtimes at work, and what to do when each has ended.

use super::create::Creating;
use std::path::PathBuf;
use std::time::Instant;

use super::{Activity, Child, REST, Reply, Shim};
use crate::error::{Error, Kind};
use crate::log;
use crate::process::{Exit, Key};
use crate::reap::Strangers;
use crate::runtime::{self, CallIo, Runtime};
use crate::source::Source;
use crate::stdio::{Awaited, Opened};
use crate::sys::poll::Interest;

/// A runtime at work.
pub(super) struct Job {
    call: runtime::Call,
    purpose: Purpose,
}

/// For whom a runtime works, and to what end.
pub(super) struct Purpose {
    pub(super) key: Key,
    pub(super) reply: Option<Reply>,
    pub(super) then: Then,
}

/// A runtime that is to be started.
pub(super) struct Launch {
    pub(super) runtime: Runtime,
    pub(super) line: Vec<String>,
    pub(super) io: CallIo,
    pub(super) purpose: Purpose,
}

/// A process that the runtime is making.
pub(super) struct Fresh {
    pub(super) opened: Opened,
    pub(super) pid_file: PathBuf,
}

/// What follows when the runtime has ended.
pub(super) enum Then {
    Create(Box<Creating>),
    Start,
    /// Of an exec, or of a container that is restored: the streams go with it, and there is a pid file to read.
    StartWith(Box<Fresh>),
    Delete,
    Kill,
    Pause,
    Resume,
    Update,
    Checkpoint(String),
    Pids,
    /// What was made in vain.
    Destroy,
    /// Everything that shared a pid namespace with an init that has ended.
    KillRest(Exit),
}

impl Then {
    fn opened(&mut self) -> Option<&mut Opened> {
        match self {
            Then::Create(creating) => Some(&mut creating.opened),
            Then::StartWith(fresh) => Some(&mut fresh.opened),
            _ => None,
        }
    }
}

impl Shim {
    /// Starts a runtime, as soon as what its container's output goes to is there.
    pub(super) fn launch(&mut self, mut launch: Launch) {
        if let Some(pid) = launch.purpose.then.opened().and_then(|opened| opened.logger) {
            self.children.insert(pid, Child::Logger(launch.purpose.key.clone()));
        }
        self.launch_when_ready(launch);
    }

    fn launch_when_ready(&mut self, mut launch: Launch) {
        match launch.purpose.then.opened().and_then(|opened| opened.awaited.pop()) {
            Some(awaited) => self.park(launch, awaited),
            None => self.launch_now(launch),
        }
    }

    fn park(&mut self, launch: Launch, awaited: Awaited) {
        let serial = self.next_serial();
        match self.poll.add(&awaited, Interest::Read, Source::Launch(serial).token()) {
            Ok(()) => drop(self.launches.insert(serial, (launch, awaited))),
            Err(error) => {
                self.not_launched(launch, &Error::system("watch what the output goes to", error));
            }
        }
    }

    /// Something has been heard of what a launch waits for.
    pub(super) fn awaited_spoke(&mut self, serial: u32) {
        let Some((mut launch, awaited)) = self.launches.remove(&serial) else { return };
        drop(self.poll.remove(&awaited));
        match launch.purpose.then.opened().map_or(Ok(true), |opened| opened.has_come(&awaited)) {
            Ok(true) => self.launch_when_ready(launch),
            Ok(false) => self.park(launch, awaited),
            Err(error) => self.not_launched(launch, &error),
        }
    }

    /// What nobody asks for any more need not wait for what may never come.
    pub(super) fn abandon_launches(&mut self, client: u32) {
        let is_his = |(launch, _): &(Launch, Awaited)| {
            launch.purpose.reply.is_some_and(|reply| reply.client == client)
        };
        let his: Vec<u32> =
            self.launches.iter().filter(|(_, waiting)| is_his(waiting)).map(|(serial, _)| *serial).collect();
        for serial in his {
            if let Some((launch, awaited)) = self.launches.remove(&serial) {
                drop(self.poll.remove(&awaited));
                self.not_launched(
                    launch,
                    &Error::new(Kind::System, "its client hung up before its output had where to go"),
                );
            }
        }
    }

    fn launch_now(&mut self, launch: Launch) {
        let Launch { runtime, line, io, purpose } = launch;
        let serial = u64::from(self.next_serial());
        match runtime.call(line, io, serial) {
            Ok(call) => {
                self.children.insert(call.pid, Child::Job);
                self.jobs.insert(call.pid, Job { call, purpose });
            }
            Err(error) => self.finish(purpose, Err(error.to_string())),
        }
    }

    fn not_launched(&mut self, launch: Launch, error: &Error) {
        self.finish(launch.purpose, Err(error.to_string()));
    }

    /// Whether a runtime is at work that may yet name a child of ours.
    pub(super) fn strangers(&self) -> Strangers {
        let naming = |job: &Job| matches!(job.purpose.then, Then::Create(_) | Then::StartWith(_));
        if self.jobs.values().any(naming) { Strangers::MayBeOurs } else { Strangers::AreOrphans }
    }

    pub(super) fn job_ended(&mut self, pid: nix::unistd::Pid, status: u32) {
        self.tidy_at = Some(Instant::now() + REST);
        if let Some(Job { call, purpose }) = self.jobs.remove(&pid) {
            self.finish(purpose, call.result(status));
        }
    }

    fn finish(&mut self, purpose: Purpose, result: Result<Vec<u8>, String>) {
        let Purpose { key, reply, then } = purpose;
        let answer = match then {
            Then::Create(creating) => {
                let made = self.created(*creating, result);
                self.reply(reply, made);
                self.resume_calls(&key.container);
                return;
            }
            Then::Destroy => deleted(result).map(|()| Vec::new()),
            Then::Start => self.started(&key, result),
            Then::StartWith(fresh) => self.started_with(&key, *fresh, result),
            Then::Delete => match deleted(result) {
                Ok(()) => {
                    self.leave(key, reply);
                    return; // busy until it has left
                }
                Err(error) => Err(error),
            },
            Then::Kill => killed(result),
            Then::Pause => self.paused(&key, result),
            Then::Resume => self.resumed(&key, result),
            Then::Update => result.map(|_| Vec::new()).map_err(|text| failed("update", &text)),
            Then::Checkpoint(path) => self.checkpointed(&key, path, result),
            Then::Pids => self.listed(&key, result),
            Then::KillRest(exit) => {
                self.rest_killed(&key, exit, result);
                return;
            }
        };
        if let (None, Err(error)) = (&reply, &answer) {
            log::warn(error);
        }
        self.reply(reply, answer);
        self.unqueue(&key);
    }

    /// The process is free again: the calls that waited for it go on.
    pub(super) fn unqueue(&mut self, key: &Key) {
        if let Some(process) = self.process_mut(key) {
            process.activity = Activity::Idle;
            if let Some((reply, call)) = process.queue.pop_front() {
                self.handle(reply, call);
                let still_idle =
                    self.process_mut(key).is_some_and(|process| process.activity == Activity::Idle);
                if still_idle {
                    self.unqueue(key);
                }
            }
        }
    }
}

/// The text that containerd's own shim gives, which clients show, and some read.
pub(super) fn failed(verb: &str, text: &str) -> Error {
    Error::new(Kind::System, format!("OCI runtime {verb} failed: {text}"))
}

/// A runtime that no longer knows the container has nothing to delete.
fn deleted(result: Result<Vec<u8>, String>) -> Result<(), Error> {
    match result {
        Err(text) if text.contains("does not exist") => {
            log::warn(format!("delete: {text}"));
            Ok(())
        }
        Err(text) => Err(failed("delete", &text)),
        Ok(_) => Ok(()),
    }
}

fn killed(result: Result<Vec<u8>, String>) -> Result<Vec<u8>, Error> {
    const GONE: [&str; 4] =
        ["process already finished", "container not running", "no such process", "does not exist"];
    result.map(|_| Vec::new()).map_err(|text| {
        let lower = text.to_lowercase();
        if GONE.iter().any(|gone| lower.contains(gone)) {
            crate::process::finished()
        } else {
            failed("kill", &text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_is_not_found_whatever_the_runtimes_words() {
        for text in ["os: process already finished", "container not running", "kill: No such process"] {
            assert_eq!(killed(Err(text.into())).unwrap_err().kind(), Kind::NotFound, "{text}");
        }
        assert_eq!(killed(Err("x".into())).unwrap_err().to_string(), "OCI runtime kill failed: x");
    }

    #[test]
    fn a_container_the_runtime_does_not_know_counts_as_deleted() {
        assert!(deleted(Err("container \"a\" does not exist".into())).is_ok());
        assert_eq!(deleted(Err("x".into())).unwrap_err().to_string(), "OCI runtime delete failed: x");
    }
}
