//! Resource limits that the caller may set and init may not: in a user namespace no right counts for them.

use crate::error::Error;
use crate::plan::process::Rlimit;
use crate::sys::process;

/// Limits of a process that waits.
pub(super) fn set(pid: i32, limits: &[Rlimit]) -> Result<(), Error> {
    for limit in limits {
        process::set_rlimit(pid, limit.resource, limit.soft, limit.hard)
            .map_err(|source| Error::system(format!("set resource limit {}", limit.resource), source))?;
    }
    Ok(())
}
