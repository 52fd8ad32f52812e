//! How the process is scheduled: policy, I/O priority, processors, personality.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, Scheduler as SpecScheduler,
};

use super::text;
use crate::error::Error;

/// `sched_setattr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduler {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// The policy with all its numbers, checked for what the kernel would only call invalid.
pub fn scheduler(asked: Option<&SpecScheduler>) -> Result<Option<Scheduler>, Error> {
    use LinuxSchedulerPolicy as P;
    let Some(asked) = asked else { return Ok(None) };
    let policy = match asked.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => 4,
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let nice = asked.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(text::invalid("process.scheduler.nice", "must be between -20 and 19"));
    }
    let priority = u32::try_from(asked.priority().unwrap_or(0))
        .map_err(|_| text::invalid("process.scheduler.priority", "must be 0 or more"))?;
    if priority != 0 && !matches!(policy, 1 | 2) {
        return Err(text::invalid("process.scheduler.priority", "is only for SCHED_FIFO and SCHED_RR"));
    }
    let times = (asked.runtime().unwrap_or(0), asked.deadline().unwrap_or(0), asked.period().unwrap_or(0));
    if times != (0, 0, 0) && policy != 6 {
        let reason = "runtime, deadline and period are only for SCHED_DEADLINE";
        return Err(text::invalid("process.scheduler", reason));
    }
    let flags = asked.flags().iter().flatten().fold(0, |sum, flag| sum | flag_bit(*flag));
    let (runtime, deadline, period) = times;
    Ok(Some(Scheduler { policy, flags, nice, priority, runtime, deadline, period }))
}

fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    use LinuxSchedulerFlag as F;
    match flag {
        F::SchedResetOnFork => 0x01,
        F::SchedFlagReclaim => 0x02,
        F::SchedFlagDLOverrun => 0x04,
        F::SchedFlagKeepPolicy => 0x08,
        F::SchedFlagKeepParams => 0x10,
        F::SchedFlagUtilClampMin => 0x20,
        F::SchedFlagUtilClampMax => 0x40,
    }
}

/// The value that `ioprio_set` takes: class and level in one number.
pub fn io_priority(asked: Option<&LinuxIOPriority>) -> Result<Option<i32>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(asked.priority()) {
        Ok(level) if (0..=7).contains(&level) => Ok(Some(class << 13 | level)),
        _ => Err(text::invalid("process.ioPriority.priority", "must be between 0 and 7")),
    }
}

/// The execution domain of `personality(2)`. The specification defines no flags; runc warns of them and goes on.
pub fn personality(asked: Option<&LinuxPersonality>, warnings: &mut Vec<String>) -> Option<u64> {
    let asked = asked?;
    if let Some(flags) = asked.flags().as_ref().filter(|flags| !flags.is_empty()) {
        warnings.push(format!("ignoring unsupported personality flags: [{}]", flags.join(" ")));
    }
    Some(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

/// Processor numbers out of "0-3,7".
pub fn cpus(list: Option<&str>, field: &str) -> Result<Option<Vec<u32>>, Error> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(None) };
    let cpus = text::ranges(list, MOST_CPUS);
    cpus.map(Some).ok_or_else(|| text::invalid(field, format!("{list:?} is no list of processors")))
}

/// The kernel's own ceiling (NR_CPUS).
pub const MOST_CPUS: u32 = 8192;
