//! Loads the seccomp filter.

use crate::error::Error;
use crate::plan::seccomp::{Handover, Program};
use crate::sys::seccomp;
use crate::wire::InitEnd;

/// From here on only what the filter allows. An agent that answers for it gets the listener by way of the host.
pub fn load(program: &Program, wire: &InitEnd) -> Result<(), Error> {
    let listener = seccomp::load(&program.instructions, program.flags)
        .map_err(|source| Error::system("load the seccomp filter", source))?;
    match (listener, program.listener.as_ref().map(|agent| agent.handover)) {
        (None, _) => Ok(()),
        // Nothing but write and read until the agent has it, which then answers for the descriptor's close as well.
        (Some(listener), Some(Handover::Taken)) => wire.listener_at(&listener).and_then(|()| wire.wait()),
        (Some(listener), _) => wire.listener(&listener),
    }
}
