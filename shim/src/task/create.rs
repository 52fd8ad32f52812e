//! Create: rootfs, streams, `runtime create`; or, from a checkpoint, everything but the runtime, which `Start` then runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::topics::TASK_CREATE_EVENT_TOPIC;
use nix::unistd::Pid;
use protobuf::Message;

use super::container::{Container, Process};
use super::jobs::{Purpose, Then, failed};
use super::launch::Launch;
use super::{Child, Outcome, Reply, Shim, answer, init};
use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Kind};
use crate::log;
use crate::mounts;
use crate::options::{self, Options};
use crate::process::Key;
use crate::runtime::{CallIo, Choice, Runtime, argv};
use crate::spec::Spec;
use crate::stdio::{self, Opened, Places, Wanted};

/// A container before the runtime has made it.
pub(super) struct Creating {
    request: api::CreateTaskRequest,
    container: Container,
    pub(super) opened: Opened,
}

impl Creating {
    pub(super) fn bundle(&self) -> &Path {
        &self.container.bundle
    }
}

/// What decides how the streams of a process are opened.
pub(super) struct Setting<'a> {
    pub(super) bundle: &'a Path,
    pub(super) options: &'a Options,
    pub(super) places: &'a Places,
}

/// Where a runtime writes the process id of a container's init; `delete` of another process reads it too.
pub(crate) const PID_FILE: &str = "init.pid";

impl Shim {
    pub(super) fn create(&mut self, reply: Reply, request: api::CreateTaskRequest) -> Result<Outcome, Error> {
        let id = request.id.clone();
        if self.containers.contains_key(&id) || self.creating.contains_key(&id) {
            return Err(Error::new(Kind::Exists, format!("container {id}: it exists already")));
        }
        if !request.parent_checkpoint.is_empty() {
            return Err(Error::new(Kind::Unsupported, "create from a parent checkpoint"));
        }
        let bundle = PathBuf::from(&request.bundle);
        let creating = self.prepare(request).inspect_err(|_| forget(&bundle))?;
        if creating.container.checkpoint.is_some() {
            return self.created_for_restore(creating);
        }
        let Creating { container, .. } = &creating;
        let pid_file = container.bundle.join(PID_FILE);
        let line = argv::create(&argv::Creation {
            id: &id,
            bundle: &container.bundle,
            pid_file: &pid_file,
            console_socket: creating.opened.console.as_ref().map(stdio::ConsoleSocket::address),
            no_pivot: container.options.no_pivot_root,
            no_new_keyring: container.options.no_new_keyring,
        });
        let mut creating = creating;
        let io = CallIo::Container(std::mem::take(&mut creating.opened.io));
        let runtime = creating.container.runtime.clone();
        let then = Then::Create(Box::new(creating));
        self.creating.insert(id.clone(), Vec::new());
        let purpose = Purpose { key: init(&id), reply: Some(reply), then };
        self.launch(Launch { runtime, line, io, purpose });
        Ok(Outcome::Later)
    }

    /// Everything that comes before the runtime; undone on failure.
    fn prepare(&mut self, request: api::CreateTaskRequest) -> Result<Creating, Error> {
        let bundle = PathBuf::from(&request.bundle);
        let spec = Spec::read(&bundle)?;
        let mut options = Options::parse(&request.options.clone().unwrap_or_default())?;
        options.systemd_cgroup |= spec.names_a_scope();
        options::save(&bundle, &options)?;
        let choice = Choice {
            options: &options,
            bundle: &bundle,
            namespace: &self.setup.namespace,
            debug: self.setup.debug,
        };
        let runtime = Runtime::choose(&choice);
        let places = Places {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        mounts::mount_all(&request.rootfs, &bundle.join("rootfs"))?;
        let opened = self.open_streams(
            &init(&request.id),
            &Setting { bundle: &bundle, options: &options, places: &places },
        );
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                unmount(&bundle);
                return Err(error);
            }
        };
        let checkpoint = Some(&request.checkpoint).filter(|path| !path.is_empty()).map(PathBuf::from);
        let container = Container {
            bundle,
            runtime,
            options,
            processes: BTreeMap::from([(String::new(), Process::new(places))]),
            cgroup: None,
            oom: None,
            own_pids: spec.has_own_pids(),
            checkpoint,
            lingering: None,
        };
        Ok(Creating { request, container, opened })
    }

    pub(super) fn open_streams(&mut self, key: &Key, setting: &Setting) -> Result<Opened, Error> {
        let Setting { bundle, options, places } = *setting;
        let serial = u64::from(self.next_serial());
        let namespace = &self.setup.namespace;
        let (uid, gid) = (options.io_uid, options.io_gid);
        let id = if key.exec.is_empty() { &key.container } else { &key.exec };
        stdio::open(&Wanted { places, bundle, id, namespace, uid, gid, serial })
    }

    pub(super) fn created(
        &mut self,
        creating: Creating,
        result: Result<Vec<u8>, String>,
    ) -> Result<Vec<u8>, Error> {
        let bundle = creating.container.bundle.clone();
        let id = creating.request.id.clone();
        let logger = creating.opened.logger;
        let runtime = creating.container.runtime.clone();
        let adopting = result.is_ok();
        let made = result.map_err(|text| failed("create", &text)).and_then(|_| self.adopt(creating));
        if made.is_err() {
            self.containers.remove(&id);
            self.dismiss(logger); // it reads the end of its pipes too, but may wait for more
            if adopting {
                self.destroy(runtime, &id, bundle);
            } else {
                unmount(&bundle);
            }
        }
        made
    }

    fn adopt(&mut self, creating: Creating) -> Result<Vec<u8>, Error> {
        let Creating { request, mut container, opened } = creating;
        let key = init(&request.id);
        let pid = read_pid(&container.bundle.join(PID_FILE))?;
        self.children.insert(pid, Child::Process(key.clone()));
        container.cgroup = Cgroup::of(pid).map_err(|error| log::warn(format!("no statistics: {error}"))).ok();
        if let Some(process) = container.processes.get_mut("") {
            process.pid = Some(pid);
        }
        self.containers.insert(request.id.clone(), container);
        self.run_streams(&key, opened)?;
        let number = self.process(&key)?.number();
        self.announce_creation(request, number);
        let response = api::CreateTaskResponse { pid: number, ..Default::default() };
        response.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode an answer: {e}")))
    }

    fn created_for_restore(&mut self, creating: Creating) -> Result<Outcome, Error> {
        let Creating { request, mut container, opened } = creating;
        if let Some(process) = container.processes.get_mut("") {
            process.prepared = Some(opened);
        }
        self.containers.insert(request.id.clone(), container);
        self.announce_creation(request, 0);
        answer(&api::CreateTaskResponse::default())
    }

    fn announce_creation(&mut self, request: api::CreateTaskRequest, pid: u32) {
        let io = event::TaskIO {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
            ..Default::default()
        };
        let created = event::TaskCreate {
            container_id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            io: Some(io).into(),
            checkpoint: request.checkpoint,
            pid,
            ..Default::default()
        };
        self.events.publish(TASK_CREATE_EVENT_TOPIC, &created);
    }

    /// A container that the runtime has made and the shim cannot serve.
    fn destroy(&mut self, runtime: Runtime, id: &str, bundle: PathBuf) {
        let line = argv::delete_forced(id);
        let purpose = Purpose { key: init(id), reply: None, then: Then::Destroy(bundle) };
        self.launch(Launch { runtime, line, io: CallIo::Captured { stdin: None }, purpose });
    }

    pub(super) fn destroyed(&mut self, id: &str, bundle: &Path, result: Result<(), Error>) {
        unmount(bundle);
        match result {
            Ok(()) => forget(bundle),
            Err(error) => log::warn(error),
        }
        self.resume_calls(id);
    }

    /// The calls that came while it was made: they find it now, or learn that it does not exist.
    pub(super) fn resume_calls(&mut self, id: &str) {
        for (reply, call) in self.creating.remove(id).unwrap_or_default() {
            self.handle(reply, call);
        }
    }
}

pub(super) fn forget(bundle: &Path) {
    if let Err(error) = options::forget(bundle) {
        log::warn(error);
    }
}

fn unmount(bundle: &Path) {
    if let Err(error) = mounts::unmount_under(&bundle.join("rootfs")) {
        log::warn(error);
    }
}

pub(crate) fn read_pid(file: &Path) -> Result<Pid, Error> {
    let text = std::fs::read_to_string(file).doing(|| format!("read {}", file.display()))?;
    let number: i32 = text
        .trim()
        .parse()
        .map_err(|_| Error::new(Kind::System, format!("read {}: no process id", file.display())))?;
    Ok(Pid::from_raw(number))
}
