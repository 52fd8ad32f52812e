//! What a build costs: the time until it is done, and the processor time of everything that worked for it, daemons too.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

use crate::process;

/// The bound of one command.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

/// Runs the commands one after the other; `daemon` works for them.
pub(super) fn of(commands: &mut [Command], daemon: Option<u32>) -> Result<Cost> {
    let before = (children()?, daemon.map(tree).transpose()?);
    let begin = Instant::now();
    for command in commands.iter_mut() {
        process::run(command, PATIENCE)?.success()?;
    }
    let wall = begin.elapsed();
    let mut cpu = children()?.saturating_sub(before.0);
    if let (Some(pid), Some(before)) = (daemon, before.1) {
        cpu += tree(pid)?.saturating_sub(before);
    }
    Ok(Cost { wall, cpu })
}

/// The processor time of all children that have ended, and of theirs.
fn children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |time: nix::sys::time::TimeVal| -> Result<Duration> {
        Ok(Duration::new(u64::try_from(time.tv_sec())?, u32::try_from(time.tv_usec())? * 1000))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}

/// The largest resident set of any child so far, in KiB.
pub(super) fn peak() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss())
}

/// The processor time of a process, of its living descendants, and of those that they have waited for.
fn tree(pid: u32) -> Result<Duration> {
    let second = sysconf(SysconfVar::CLK_TCK)?.context("find the length of a tick")?;
    let (second, mut ticks) = (u64::try_from(second)?, 0);
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        // One that has ended meanwhile is in its parent's account.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        // utime, stime, cutime and cstime are the 14th to the 17th; the rest begins with the third.
        ticks +=
            fields.split(' ').skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            waiting.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }
    ensure!(ticks > 0, "find what process {pid} has used");
    Ok(Duration::from_millis(ticks * 1000 / second))
}
