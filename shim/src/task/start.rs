//! Start, of a container's init or of an exec.

use std::path::Path;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::topics::{TASK_EXEC_STARTED_EVENT_TOPIC, TASK_START_EVENT_TOPIC};
use protobuf::Message;

use super::container::Activity;
use super::create::{PID_FILE, Setting, read_pid};
use super::jobs::{Fresh, Purpose, Then, failed};
use super::launch::Launch;
use super::{Child, Outcome, Reply, Shim};
use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Kind};
use crate::log;
use crate::oom::Watch;
use crate::process::{Key, Phase, Verb};
use crate::runtime::{CallIo, argv};
use crate::source::Source;
use crate::stdio::ConsoleSocket;
use crate::sys::poll::Interest;

impl Shim {
    pub(super) fn start(&mut self, reply: Reply, request: &api::StartRequest) -> Result<Outcome, Error> {
        let key = Key { container: request.id.clone(), exec: request.exec_id.clone() };
        self.process(&key)?.phase.allows(Verb::Start)?;
        let launch = if !key.exec.is_empty() {
            self.plan_exec(&key, reply)?
        } else if self.container(&key.container)?.checkpoint.is_some() {
            self.plan_restore(&key, reply)?
        } else {
            self.watch_memory(&key.container); // before it runs: the first allocation may be the one too many
            let runtime = self.container(&key.container)?.runtime.clone();
            let line = argv::start(&key.container);
            let io = CallIo::Captured { stdin: None };
            Launch {
                runtime,
                line,
                io,
                purpose: Purpose { key: key.clone(), reply: Some(reply), then: Then::Start },
            }
        };
        self.process(&key)?.activity = Activity::Starting;
        self.launch(launch);
        Ok(Outcome::Later)
    }

    fn plan_exec(&mut self, key: &Key, reply: Reply) -> Result<Launch, Error> {
        self.container(&key.container)?
            .processes
            .get("")
            .map_or(Ok(()), |init| init.phase.allows(Verb::Exec))?;
        let serial = self.next_serial();
        let container = self.container(&key.container)?;
        let (bundle, options, runtime) =
            (container.bundle.clone(), container.options.clone(), container.runtime.clone());
        let process = self.process(key)?;
        let places = process.places.clone();
        // Numbered, not named after the exec's id: an id is a client's word and this is a path.
        let file = bundle.join(format!("exec-{serial}.json"));
        write_private(&file, &process.spec)?;
        let mut opened = self
            .open_streams(key, &Setting { bundle: &bundle, options: &options, places: &places })
            .inspect_err(|_| drop(std::fs::remove_file(&file)))?;
        let pid_file = bundle.join(format!("exec-{serial}.pid"));
        let line = argv::exec(&argv::Execution {
            id: &key.container,
            process: &file,
            pid_file: &pid_file,
            console_socket: opened.console.as_ref().map(ConsoleSocket::address),
        });
        let io = CallIo::Container(std::mem::take(&mut opened.io));
        let then = Then::StartWith(Box::new(Fresh { opened, pid_file }));
        Ok(Launch { runtime, line, io, purpose: Purpose { key: key.clone(), reply: Some(reply), then } })
    }

    fn plan_restore(&mut self, key: &Key, reply: Reply) -> Result<Launch, Error> {
        let container = self.container(&key.container)?;
        let pid_file = container.bundle.join(PID_FILE);
        let work = match container.options.criu_work_path.as_str() {
            "" => container.bundle.join("criu-work"),
            path => path.into(),
        };
        let (bundle, runtime) = (container.bundle.clone(), container.runtime.clone());
        let (image, no_pivot) =
            (container.checkpoint.clone().unwrap_or_default(), container.options.no_pivot_root);
        let missing = || Error::new(Kind::Precondition, "restore: its streams are no longer open");
        let mut opened = self.process(key)?.prepared.take().ok_or_else(missing)?;
        let creation = argv::Creation {
            id: &key.container,
            bundle: &bundle,
            pid_file: &pid_file,
            console_socket: opened.console.as_ref().map(ConsoleSocket::address),
            no_pivot,
            no_new_keyring: false,
        };
        let line = argv::restore(&creation, &argv::Images { image: &image, work: &work });
        let io = CallIo::Container(std::mem::take(&mut opened.io));
        let then = Then::StartWith(Box::new(Fresh { opened, pid_file }));
        Ok(Launch { runtime, line, io, purpose: Purpose { key: key.clone(), reply: Some(reply), then } })
    }

    /// The end of `runtime start`.
    pub(super) fn started(&mut self, key: &Key, result: Result<Vec<u8>, String>) -> Result<Vec<u8>, Error> {
        let outcome = match result {
            Ok(_) => self.announce_start(key),
            Err(text) => Err(failed("start", &text)),
        };
        self.release_held_exit(key);
        outcome
    }

    /// The end of `runtime exec` or `runtime restore`.
    pub(super) fn started_with(
        &mut self,
        key: &Key,
        fresh: Fresh,
        result: Result<Vec<u8>, String>,
    ) -> Result<Vec<u8>, Error> {
        let Fresh { opened, pid_file } = fresh;
        let verb = if key.exec.is_empty() { "restore" } else { "exec" };
        let logger = opened.logger;
        let outcome = result.map_err(|text| failed(verb, &text)).and_then(|_| {
            let pid = read_pid(&pid_file)?;
            self.children.insert(pid, Child::Process(key.clone()));
            let process = self.process(key)?;
            process.pid = Some(pid);
            process.spec = Vec::new();
            self.run_streams(key, opened)?;
            if key.exec.is_empty() {
                self.container(&key.container)?.cgroup = Cgroup::of(pid).ok();
                self.watch_memory(&key.container);
            }
            self.announce_start(key)
        });
        if !key.exec.is_empty() {
            drop(std::fs::remove_file(&pid_file));
            drop(std::fs::remove_file(pid_file.with_extension("json")));
        }
        if outcome.is_err() {
            self.dismiss(logger);
            // It may run, but nobody could follow it.
            if let Some(pid) = self.process_mut(key).and_then(|process| process.pid) {
                drop(crate::sys::wait::kill(pid, 9));
            }
            self.never_ran(key);
        }
        outcome
    }

    fn announce_start(&mut self, key: &Key) -> Result<Vec<u8>, Error> {
        let process = self.process(key)?;
        process.phase = Phase::Running;
        let pid = process.number();
        let container_id = key.container.clone();
        if key.exec.is_empty() {
            self.events.publish(
                TASK_START_EVENT_TOPIC,
                &event::TaskStart { container_id, pid, ..Default::default() },
            );
        } else {
            let exec_id = key.exec.clone();
            let started = event::TaskExecStarted { container_id, exec_id, pid, ..Default::default() };
            self.events.publish(TASK_EXEC_STARTED_EVENT_TOPIC, &started);
        }
        let response = api::StartResponse { pid, ..Default::default() };
        response.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode an answer: {e}")))
    }

    fn watch_memory(&mut self, id: &str) {
        let serial = self.next_serial();
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(cgroup) = container.cgroup.as_ref() else { return };
        let watch = Watch::start(cgroup).and_then(|watch| {
            if let Some(watch) = &watch {
                self.poll
                    .add(watch, Interest::Read, Source::Oom(serial).token())
                    .doing(|| "watch for lack of memory".into())?;
            }
            Ok(watch)
        });
        match watch {
            Ok(watch) => container.oom = watch.map(|watch| (serial, watch)),
            Err(error) => log::warn(format!("container {id}: no word of lack of memory: {error}")),
        }
    }
}

/// A process's environment may hold secrets.
fn write_private(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let doing = || format!("write {}", file.display());
    let mut file_opened =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).doing(doing)?;
    file_opened.write_all(bytes).doing(doing)
}
