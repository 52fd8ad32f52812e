//! Hands the listener of a container's seccomp filter to the agent that answers for it.

use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

use serde_json::{Value, json};

use super::console;
use crate::error::{Error, Kind};
use crate::init::hooks::State;
use crate::plan::seccomp::Program;
use crate::sys::pidfd;

/// Whose filter it is: `exec` starts another process than the container's first.
#[derive(Debug, Clone, Copy)]
pub struct Pids {
    pub process: i32,
    pub init: i32,
}

/// The listener that init has under this number.
pub fn take(process: &OwnedFd, number: RawFd) -> Result<OwnedFd, Error> {
    pidfd::take(process, number).map_err(|source| {
        let hint = match source.raw_os_error() {
            Some(libc::ENOSYS) => {
                "an agent for sendmsg needs pidfd_getfd (Linux 5.6), which is not there or refused"
            }
            Some(libc::EPERM) => "an agent for sendmsg needs CAP_SYS_PTRACE where the runtime was started",
            _ => "an agent for sendmsg needs pidfd_getfd",
        };
        Error::system("take the seccomp listener from the container's process", source).hint(hint)
    })
}

/// Sends it to the socket of `listenerPath`, with the specification's "container process state".
pub fn send(
    program: Option<&Program>,
    (state, status): (&State, &str),
    pids: Pids,
    listener: &OwnedFd,
) -> Result<(), Error> {
    let Some(agent) = program.and_then(|program| program.listener.as_ref()) else {
        return Err(Error::new(Kind::System, "hand over the seccomp listener: none was expected"));
    };
    let state: Value = serde_json::from_str(&state.text(status, pids.init))
        .map_err(|source| Error::system("encode the container's state", std::io::Error::from(source)))?;
    let version = state.get("ociVersion").cloned().unwrap_or_default();
    let message = json!({
        "ociVersion": version,
        "fds": ["seccompFd"],
        "pid": pids.process,
        "metadata": agent.metadata,
        "state": state,
    });
    let path: &Path = &agent.socket;
    console::send(path, &message.to_string(), listener).map_err(|error| match error.errno() {
        Some(errno) => Error::system(
            format!("failed to connect with seccomp agent at {}", path.display()),
            std::io::Error::from_raw_os_error(errno),
        )
        .hint("is the agent running?"),
        None => error,
    })
}
