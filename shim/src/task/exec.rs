//! Exec: another process for a container, kept until it is started; and what is said to one that runs.

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::topics::TASK_EXEC_ADDED_EVENT_TOPIC;

use super::container::Process;
use super::{Outcome, Shim, done};
use crate::error::{Doing, Error, Kind};
use crate::process::{Key, Verb};
use crate::spec;
use crate::stdio::Places;
use crate::sys::tty;

impl Shim {
    pub(super) fn exec(&mut self, request: api::ExecProcessRequest) -> Result<Outcome, Error> {
        let container = self.container(&request.id)?;
        if request.exec_id.is_empty() {
            return Err(Error::new(Kind::Invalid, "exec: the exec id is empty"));
        }
        if container.processes.contains_key(&request.exec_id) {
            return Err(Error::new(Kind::Exists, format!("exec {}: it exists already", request.exec_id)));
        }
        container.processes.get("").map_or(Ok(()), |init| init.phase.allows(Verb::Exec))?;
        let given = request.spec.into_option().map(|any| any.value).unwrap_or_default();
        let spec = spec::process(&given, request.terminal)
            .map_err(|reason| Error::new(Kind::Invalid, format!("exec {}: {reason}", request.exec_id)))?;
        let mut process = Process::new(Places {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        });
        process.spec = spec;
        container.processes.insert(request.exec_id.clone(), process);
        let added =
            event::TaskExecAdded { container_id: request.id, exec_id: request.exec_id, ..Default::default() };
        self.events.publish(TASK_EXEC_ADDED_EVENT_TOPIC, &added);
        done()
    }

    pub(super) fn resize(&mut self, request: &api::ResizePtyRequest) -> Result<Outcome, Error> {
        let key = Key { container: request.id.clone(), exec: request.exec_id.clone() };
        let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        if let Some(terminal) = &self.process(&key)?.streams.terminal {
            tty::resize(terminal, size(request.width), size(request.height))
                .doing(|| "resize the terminal".into())?;
        }
        done()
    }

    pub(super) fn close_io(&mut self, request: &api::CloseIORequest) -> Result<Outcome, Error> {
        let key = Key { container: request.id.clone(), exec: request.exec_id.clone() };
        let process = self.process(&key)?;
        if request.stdin {
            // The process sees the end of its input once the client has closed its side too and the fifo is empty.
            // That may be before its start is over, when the streams are not here yet.
            process.streams.stdin_keeper = None;
            process.stdin_closed = true;
        }
        done()
    }
}
