//! Kill, Pause, Resume, Update and Checkpoint: the runtime does it, the shim keeps the record.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::shim::oci::CheckpointOptions;
use containerd_shim_protos::topics::{
    TASK_CHECKPOINTED_EVENT_TOPIC, TASK_PAUSED_EVENT_TOPIC, TASK_RESUMED_EVENT_TOPIC,
};
use protobuf::{Message, UnknownValueRef};

use super::container::Activity;
use super::jobs::{Purpose, Then, failed};
use super::launch::Launch;
use super::{Outcome, Reply, Shim, done, init};
use crate::error::{Doing, Error, Kind};
use crate::process::{self, Key, Phase, Verb};
use crate::runtime::{CallIo, argv};
use crate::sys::{fd, wait};

impl Shim {
    pub(super) fn kill(&mut self, reply: Reply, request: &api::KillRequest) -> Result<Outcome, Error> {
        let key = Key { container: request.id.clone(), exec: request.exec_id.clone() };
        if key.exec.is_empty() {
            let reach = if request.all { argv::Reach::All } else { argv::Reach::Init };
            // With `all` a stopped init is no reason: those it left behind are meant.
            let verb = if request.all { None } else { Some(Verb::Kill) };
            let line = argv::kill(&request.id, request.signal, reach);
            return self.control(verb, line, Purpose { key, reply: Some(reply), then: Then::Kill });
        }
        let process = self.process(&key)?;
        match (process.phase, process.pid) {
            (Phase::Stopped, _) => Err(process::finished()),
            (_, None) => Err(Error::new(Kind::Precondition, format!("exec {}: it is not started", key.exec))),
            // Its number cannot be another's: the shim itself would have reaped it, and then it is stopped.
            (_, Some(pid)) => {
                wait::kill(pid, request.signal).doing(|| format!("kill {pid}"))?;
                done()
            }
        }
    }

    pub(super) fn pause(&mut self, reply: Reply, id: &str) -> Result<Outcome, Error> {
        let purpose = Purpose { key: init(id), reply: Some(reply), then: Then::Pause };
        self.control(Some(Verb::Pause), argv::pause(id), purpose)
    }

    pub(super) fn resume(&mut self, reply: Reply, id: &str) -> Result<Outcome, Error> {
        let purpose = Purpose { key: init(id), reply: Some(reply), then: Then::Resume };
        self.control(Some(Verb::Resume), argv::resume(id), purpose)
    }

    fn control(&mut self, verb: Option<Verb>, line: Vec<String>, purpose: Purpose) -> Result<Outcome, Error> {
        let process = self.process(&purpose.key)?;
        if let Some(verb) = verb {
            process.phase.allows(verb)?;
        }
        process.activity = Activity::Busy;
        let runtime = self.container(&purpose.key.container)?.runtime.clone();
        self.launch(Launch { runtime, line, io: CallIo::Captured { stdin: None }, purpose });
        Ok(Outcome::Later)
    }

    pub(super) fn update(&mut self, reply: Reply, request: api::UpdateTaskRequest) -> Result<Outcome, Error> {
        let key = init(&request.id);
        self.process(&key)?.phase.allows(Verb::Update)?;
        let doing = || "hand the limits to the runtime".to_owned();
        let resources = request.resources.into_option().unwrap_or_default().value;
        let file = fd::scratch().doing(doing)?;
        let copy = file.try_clone().doing(doing)?;
        std::fs::File::from(copy).write_all_at(&resources, 0).doing(doing)?; // the runtime reads from the beginning
        self.process(&key)?.activity = Activity::Busy;
        let runtime = self.container(&request.id)?.runtime.clone();
        let line = argv::update(&request.id);
        let io = CallIo::Captured { stdin: Some(file) };
        let purpose = Purpose { key, reply: Some(reply), then: Then::Update };
        self.launch(Launch { runtime, line, io, purpose });
        Ok(Outcome::Later)
    }

    pub(super) fn checkpoint(
        &mut self,
        reply: Reply,
        request: api::CheckpointTaskRequest,
    ) -> Result<Outcome, Error> {
        let any = request.options.into_option().unwrap_or_default();
        let options = CheckpointOptions::parse_from_bytes(&any.value)
            .map_err(|e| Error::new(Kind::Invalid, format!("parse the checkpoint's options: {e}")))?;
        let container = self.container(&request.id)?;
        let first = |paths: [&str; 2]| paths.into_iter().find(|path| !path.is_empty()).map(PathBuf::from);
        let image = first([&request.path, &options.image_path])
            .ok_or_else(|| Error::new(Kind::Invalid, "checkpoint: no path for the image"))?;
        let work = first([&options.work_path, &container.options.criu_work_path]);
        let work = work.unwrap_or_else(|| container.bundle.join("criu-work"));
        let parent = parent_path(&options)?;
        let wanted = argv::Checkpoint {
            exit: options.exit,
            open_tcp: options.open_tcp,
            external_unix_sockets: options.external_unix_sockets,
            terminal: options.terminal,
            file_locks: options.file_locks,
            empty_namespaces: options.empty_namespaces,
            parent,
            cgroups_mode: options.cgroups_mode,
        };
        let line = argv::checkpoint(&request.id, &wanted, &argv::Images { image: &image, work: &work });
        let then = Then::Checkpoint(image.display().to_string());
        self.control(
            Some(Verb::Checkpoint),
            line,
            Purpose { key: init(&request.id), reply: Some(reply), then },
        )
    }

    pub(super) fn paused(&mut self, key: &Key, result: Result<Vec<u8>, String>) -> Result<Vec<u8>, Error> {
        result.map_err(|text| failed("pause", &text))?;
        self.enter(key, Phase::Paused);
        let container_id = key.container.clone();
        self.events
            .publish(TASK_PAUSED_EVENT_TOPIC, &event::TaskPaused { container_id, ..Default::default() });
        Ok(Vec::new())
    }

    pub(super) fn resumed(&mut self, key: &Key, result: Result<Vec<u8>, String>) -> Result<Vec<u8>, Error> {
        result.map_err(|text| failed("resume", &text))?;
        self.enter(key, Phase::Running);
        let container_id = key.container.clone();
        self.events
            .publish(TASK_RESUMED_EVENT_TOPIC, &event::TaskResumed { container_id, ..Default::default() });
        Ok(Vec::new())
    }

    pub(super) fn checkpointed(
        &mut self,
        key: &Key,
        checkpoint: String,
        result: Result<Vec<u8>, String>,
    ) -> Result<Vec<u8>, Error> {
        result.map_err(|text| failed("checkpoint", &text))?;
        let event =
            event::TaskCheckpointed { container_id: key.container.clone(), checkpoint, ..Default::default() };
        self.events.publish(TASK_CHECKPOINTED_EVENT_TOPIC, &event);
        Ok(Vec::new())
    }

    /// Unless it has ended meanwhile.
    fn enter(&mut self, key: &Key, phase: Phase) {
        if let Some(process) = self.process_mut(key).filter(|process| process.phase != Phase::Stopped) {
            process.phase = phase;
        }
    }
}

/// `parent_path`, which the messages' crate does not know yet. What it does not know either is refused: a checkpoint that is another
/// than the one asked for would be found out only when it is needed.
fn parent_path(options: &CheckpointOptions) -> Result<String, Error> {
    const PARENT_PATH: u32 = 10;
    let mut parent = String::new();
    for (number, value) in options.special_fields.unknown_fields().iter() {
        parent = match (number, value) {
            (PARENT_PATH, UnknownValueRef::LengthDelimited(bytes)) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        }
        .ok_or_else(|| Error::new(Kind::Unsupported, format!("option {number} of a checkpoint")))?;
    }
    Ok(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_handed_on_and_what_is_not_known_is_refused() {
        let options = |bytes: &[u8]| CheckpointOptions::parse_from_bytes(bytes).unwrap();
        assert_eq!(parent_path(&options(b"\x08\x01")).unwrap(), "");
        assert_eq!(parent_path(&options(b"\x08\x01\x52\x04../p")).unwrap(), "../p");
        let refused = parent_path(&options(b"\x58\x01")).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.to_string().as_str()),
            (Kind::Unsupported, "option 11 of a checkpoint")
        );
    }
}
