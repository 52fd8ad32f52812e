//! Runtimes at work, and what to do when each has ended.

use std::path::PathBuf;
use std::time::Instant;

use super::create::Creating;
use super::{Activity, REST, Reply, Shim};
use crate::error::{Error, Kind};
use crate::log;
use crate::process::{Exit, Key};
use crate::reap::Strangers;
use crate::runtime;
use crate::stdio::Opened;

/// A runtime at work.
pub(super) struct Job {
    pub(super) call: runtime::Call,
    pub(super) purpose: Purpose,
}

/// For whom a runtime works, and to what end.
pub(super) struct Purpose {
    pub(super) key: Key,
    pub(super) reply: Option<Reply>,
    pub(super) then: Then,
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
    /// What was made in vain, in this bundle.
    Destroy(PathBuf),
    /// Everything that shared a pid namespace with an init that has ended.
    KillRest(Exit),
}

impl Then {
    pub(super) fn opened(&mut self) -> Option<&mut Opened> {
        match self {
            Then::Create(creating) => Some(&mut creating.opened),
            Then::StartWith(fresh) => Some(&mut fresh.opened),
            _ => None,
        }
    }
}

impl Shim {
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

    pub(super) fn finish(&mut self, purpose: Purpose, result: Result<Vec<u8>, String>) {
        let Purpose { key, reply, then } = purpose;
        let answer = match then {
            Then::Create(creating) => {
                let made = self.created(*creating, result);
                self.reply(reply, made);
                if !self.is_being_destroyed(&key.container) {
                    self.resume_calls(&key.container);
                }
                return;
            }
            Then::Destroy(bundle) => return self.destroyed(&key.container, &bundle, deleted(result)),
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

    /// Whether a runtime removes what it made in vain: until it has, the id is not free.
    fn is_being_destroyed(&self, id: &str) -> bool {
        let destroys =
            |job: &Job| matches!(job.purpose.then, Then::Destroy(_)) && job.purpose.key.container == id;
        self.jobs.values().any(destroys)
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
