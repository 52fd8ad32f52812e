//! How and where the process runs.

use crate::error::Error;
use crate::plan::process::Process;
use crate::plan::sched::{MOST_CPUS, Scheduler};
use crate::sys::{mempolicy, process, sched};

/// Policies, I/O priority and execution domain, while there is still the right to raise them.
pub fn apply(planned: &Process) -> Result<(), Error> {
    if let Some(scheduler) = &planned.scheduler {
        set_policy(scheduler)?;
    }
    if let Some(value) = planned.io_priority {
        sched::set_io_priority(value).map_err(|source| Error::system("set the I/O priority", source))?;
    }
    if let Some(domain) = planned.personality {
        process::set_personality(domain)
            .map_err(|source| Error::system("set the execution domain (personality)", source))?;
    }
    match &planned.memory_policy {
        None => Ok(()),
        Some(policy) => mempolicy::set(policy.mode, &policy.nodes)
            .map_err(|source| Error::system("set the memory policy", source)),
    }
}

fn set_policy(planned: &Scheduler) -> Result<(), Error> {
    let Scheduler { policy, flags, nice, priority, runtime, deadline, period } = *planned;
    // The specification has no numbers for the clamps, which are 0 then, as with runc.
    let attr =
        sched::Attr { policy, flags, nice, priority, runtime, deadline, period, ..sched::Attr::default() };
    sched::set_attr(attr).map_err(|source| {
        let denied = source.raw_os_error() == Some(libc::EPERM);
        let error = Error::system("set the scheduling policy", source);
        // sched_setattr(2): a deadline needs an affinity of all processors.
        match denied && policy == libc::SCHED_DEADLINE.cast_unsigned() {
            true => error.hint("process scheduler can't be used together with AllowedCPUs"),
            false => error,
        }
    })
}

/// All processors of the cpuset: the runtime's own affinity is none of the container's business. Best effort, since the policy of
/// the host's security modules may forbid it.
pub fn reset_affinity() {
    let words = usize::try_from(MOST_CPUS / 64).unwrap_or(128);
    drop(sched::set_affinity(0, &vec![u64::MAX; words]));
}

/// These processors only.
pub fn set_affinity(pid: i32, cpus: &[u32]) -> Result<(), Error> {
    let mut mask = vec![0_u64; usize::try_from(MOST_CPUS / 64).unwrap_or(128)];
    for cpu in cpus {
        let word = usize::try_from(cpu / 64).ok().and_then(|word| mask.get_mut(word));
        if let Some(word) = word {
            *word |= 1 << (cpu % 64);
        }
    }
    sched::set_affinity(pid, &mask).map_err(|source| Error::system("set the CPU affinity", source))
}
