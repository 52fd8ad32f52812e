//! The task service's calls, taken out of their envelopes. Versions 2 and 3 differ in the name of the package only.

use containerd_shim_protos::api;
use protobuf::Message;
use ttrpc::proto::Request;

use crate::error::{Error, Kind};
use crate::process::Key;

pub(crate) enum Call {
    State(api::StateRequest),
    Create(Box<api::CreateTaskRequest>),
    Start(api::StartRequest),
    Delete(api::DeleteRequest),
    Pids(api::PidsRequest),
    Pause(api::PauseRequest),
    Resume(api::ResumeRequest),
    Checkpoint(api::CheckpointTaskRequest),
    Kill(api::KillRequest),
    Exec(Box<api::ExecProcessRequest>),
    ResizePty(api::ResizePtyRequest),
    CloseIo(api::CloseIORequest),
    Update(api::UpdateTaskRequest),
    Wait(api::WaitRequest),
    Stats(api::StatsRequest),
    Connect(api::ConnectRequest),
    Shutdown(api::ShutdownRequest),
}

const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

pub(crate) fn parse(request: &Request) -> Result<Call, Error> {
    if !SERVICES.contains(&request.service.as_str()) {
        return Err(Error::new(Kind::Unsupported, format!("service {}", request.service)));
    }
    let payload = &request.payload;
    Ok(match request.method.as_str() {
        "State" => Call::State(decode(payload)?),
        "Create" => Call::Create(Box::new(decode(payload)?)),
        "Start" => Call::Start(decode(payload)?),
        "Delete" => Call::Delete(decode(payload)?),
        "Pids" => Call::Pids(decode(payload)?),
        "Pause" => Call::Pause(decode(payload)?),
        "Resume" => Call::Resume(decode(payload)?),
        "Checkpoint" => Call::Checkpoint(decode(payload)?),
        "Kill" => Call::Kill(decode(payload)?),
        "Exec" => Call::Exec(Box::new(decode(payload)?)),
        "ResizePty" => Call::ResizePty(decode(payload)?),
        "CloseIO" => Call::CloseIo(decode(payload)?),
        "Update" => Call::Update(decode(payload)?),
        "Wait" => Call::Wait(decode(payload)?),
        "Stats" => Call::Stats(decode(payload)?),
        "Connect" => Call::Connect(decode(payload)?),
        "Shutdown" => Call::Shutdown(decode(payload)?),
        other => return Err(Error::new(Kind::Unsupported, format!("method {other} of {}", request.service))),
    })
}

fn decode<M: Message>(payload: &[u8]) -> Result<M, Error> {
    M::parse_from_bytes(payload).map_err(|e| Error::new(Kind::Invalid, format!("parse {}: {e}", M::NAME)))
}

impl Call {
    /// The container it is about, if it has to exist for the call to make sense.
    pub(crate) fn container(&self) -> Option<&str> {
        Some(match self {
            Call::State(call) => &call.id,
            Call::Start(call) => &call.id,
            Call::Delete(call) => &call.id,
            Call::Pids(call) => &call.id,
            Call::Pause(call) => &call.id,
            Call::Resume(call) => &call.id,
            Call::Checkpoint(call) => &call.id,
            Call::Kill(call) => &call.id,
            Call::Exec(call) => &call.id,
            Call::ResizePty(call) => &call.id,
            Call::CloseIo(call) => &call.id,
            Call::Update(call) => &call.id,
            Call::Wait(call) => &call.id,
            Call::Stats(call) => &call.id,
            Call::Create(_) | Call::Connect(_) | Call::Shutdown(_) => return None,
        })
    }

    /// The process whose calls must be made one after the other, if this is such a call. Questions never wait.
    pub(crate) fn queue(&self) -> Option<Key> {
        let (container, exec) = match self {
            Call::Start(call) => (&call.id, call.exec_id.as_str()),
            Call::Delete(call) => (&call.id, call.exec_id.as_str()),
            Call::Kill(call) => (&call.id, call.exec_id.as_str()),
            Call::Pause(call) => (&call.id, ""),
            Call::Resume(call) => (&call.id, ""),
            Call::Checkpoint(call) => (&call.id, ""),
            Call::Update(call) => (&call.id, ""),
            _ => return None,
        };
        Some(Key { container: container.clone(), exec: exec.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(service: &str, method: &str) -> Request {
        Request { service: service.into(), method: method.into(), ..Request::default() }
    }

    #[test]
    fn all_seventeen_calls_are_known_in_both_versions() {
        for service in SERVICES {
            for method in [
                "State",
                "Create",
                "Start",
                "Delete",
                "Pids",
                "Pause",
                "Resume",
                "Checkpoint",
                "Kill",
                "Exec",
                "ResizePty",
                "CloseIO",
                "Update",
                "Wait",
                "Stats",
                "Connect",
                "Shutdown",
            ] {
                assert!(parse(&request(service, method)).is_ok(), "{service} {method}");
            }
        }
    }

    #[test]
    fn the_rest_is_unimplemented() {
        let text = |service, method| parse(&request(service, method)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(text("containerd.task.v4.Task", "State"), "service containerd.task.v4.Task");
        assert_eq!(text("containerd.task.v3.Task", "Fork"), "method Fork of containerd.task.v3.Task");
    }
}
