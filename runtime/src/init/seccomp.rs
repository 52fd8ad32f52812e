//! Loads the seccomp filter.

use crate::error::Error;
use crate::plan::seccomp::Program;
use crate::sys::seccomp;
use crate::wire::InitEnd;

/// From here on only what the filter allows. An agent that answers for it gets the listener by way of the host.
pub fn load(program: &Program, wire: &InitEnd) -> Result<(), Error> {
    let listener = seccomp::load(&program.instructions, program.flags)
        .map_err(|source| Error::system("load the seccomp filter", source))?;
    match listener {
        None => Ok(()),
        Some(listener) => wire.listener(&listener),
    }
}
