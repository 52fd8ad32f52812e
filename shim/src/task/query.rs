//! Calls that only ask: State, Wait, Pids, Stats, Connect.

use containerd_shim_protos::api;
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::types::task::{ProcessInfo, Status};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

use super::exits::{timestamp, wait_response};
use super::jobs::{Purpose, Then, failed};
use super::launch::Launch;
use super::{Outcome, Reply, Shim, answer, init};
use crate::error::{Doing, Error, Kind};
use crate::process::{Key, Phase};
use crate::runtime::{CallIo, argv};
use crate::sys::fd;

impl Shim {
    pub(super) fn state(&mut self, request: &api::StateRequest) -> Result<Outcome, Error> {
        let key = Key { container: request.id.clone(), exec: request.exec_id.clone() };
        let bundle = self.container(&key.container)?.bundle.display().to_string();
        let paused = self.process_mut(&init(&key.container)).is_some_and(|init| init.phase == Phase::Paused);
        let process = self.process(&key)?;
        let status = match process.phase {
            _ if paused => Status::PAUSED, // with its container, however far it has come
            Phase::Created => Status::CREATED,
            Phase::Running => Status::RUNNING,
            Phase::Paused => Status::PAUSED,
            Phase::Stopped => Status::STOPPED,
        };
        let id = if key.exec.is_empty() { key.container } else { key.exec.clone() };
        answer(&api::StateResponse {
            id,
            bundle,
            pid: process.number(),
            status: status.into(),
            stdin: process.places.stdin.clone(),
            stdout: process.places.stdout.clone(),
            stderr: process.places.stderr.clone(),
            terminal: process.places.terminal,
            exit_status: process.exit.map_or(0, |exit| exit.status),
            exited_at: process.exit.map(timestamp).into(),
            exec_id: key.exec,
            ..Default::default()
        })
    }

    /// Answered at the exit, however late; it costs no thread meanwhile.
    pub(super) fn wait(&mut self, reply: Reply, request: &api::WaitRequest) -> Result<Outcome, Error> {
        let key = Key { container: request.id.clone(), exec: request.exec_id.clone() };
        let process = self.process(&key)?;
        match process.exit {
            Some(exit) => Ok(Outcome::Answer(wait_response(exit))),
            None => {
                process.waiters.push(reply);
                Ok(Outcome::Later)
            }
        }
    }

    pub(super) fn pids(&mut self, reply: Reply, id: String) -> Result<Outcome, Error> {
        let runtime = self.container(&id)?.runtime.clone();
        let line = argv::processes(&id);
        let io = CallIo::Captured { stdin: None };
        let key = Key { container: id, exec: LISTING.into() };
        let purpose = Purpose { key, reply: Some(reply), then: Then::Pids };
        self.launch(Launch { runtime, line, io, purpose });
        Ok(Outcome::Later)
    }

    pub(super) fn listed(&mut self, key: &Key, result: Result<Vec<u8>, String>) -> Result<Vec<u8>, Error> {
        let output = result.map_err(|text| failed("ps", &text))?;
        let pids: Option<Vec<u32>> =
            serde_json::from_slice(&output).map_err(|e| failed("ps", &format!("parse its output: {e}")))?;
        let container = self.container(&key.container)?;
        let execs = container.processes.iter().filter(|(exec, _)| !exec.is_empty());
        let execs: Vec<(u32, &String)> = execs.map(|(exec, process)| (process.number(), exec)).collect();
        let mut response = api::PidsResponse::default();
        for pid in pids.unwrap_or_default() {
            let mut info = ProcessInfo { pid, ..Default::default() };
            if let Some((_, exec_id)) = execs.iter().find(|(number, _)| *number == pid) {
                let details = ProcessDetails { exec_id: (*exec_id).clone(), ..Default::default() };
                let value = details.write_to_bytes().unwrap_or_default();
                info.info = Some(Any {
                    type_url: "containerd.runc.v1.ProcessDetails".into(),
                    value,
                    ..Any::default()
                })
                .into();
            }
            response.processes.push(info);
        }
        response.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode an answer: {e}")))
    }

    pub(super) fn stats(&mut self, request: &api::StatsRequest) -> Result<Outcome, Error> {
        let none = || Error::new(Kind::NotFound, format!("container {}: it has no cgroup", request.id));
        // Files that cannot be opened count as absent below: zeros would look like the truth.
        fd::null().doing(|| "read the container's statistics".into())?;
        let metrics = self.container(&request.id)?.cgroup.as_ref().ok_or_else(none)?.metrics()?;
        answer(&api::StatsResponse { stats: Some(metrics).into(), ..Default::default() })
    }

    pub(super) fn connect(&mut self, request: &api::ConnectRequest) -> Result<Outcome, Error> {
        let task_pid = self.process_mut(&init(&request.id)).map_or(0, |process| process.number());
        answer(&api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        })
    }
}

/// Stands for no process: a listing is of all of them and keeps none of them busy. A NUL is in no exec id.
const LISTING: &str = "\0";
