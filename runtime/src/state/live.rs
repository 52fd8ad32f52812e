//! What the kernel says of a process.

use std::fmt;
use std::io::Read;

/// Where a container is in its life, in the specification's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// Ticks after boot at which a process began: together with the pid this names one process for ever (proc_pid_stat(5)).
/// None when there is none, or only what a parent has yet to wait for.
pub fn start_time(pid: i32) -> Option<u64> {
    stat(&format!("/proc/{pid}/stat")).map(|(_, start)| start)
}

/// This process, by its pid in the namespace that /proc shows, and its start.
pub fn own() -> Option<(i32, u64)> {
    stat("/proc/self/stat")
}

fn stat(file: &str) -> Option<(i32, u64)> {
    let mut text = [0; 1024];
    let count = std::fs::File::open(file).ok()?.read(&mut text).ok()?;
    let text = text.get(..count)?;
    let pid = std::str::from_utf8(text.split(|byte| *byte == b' ').next()?).ok()?.parse().ok()?;
    // The name in parentheses may hold anything, parentheses too: what follows the last one counts.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => Some((pid, fields.nth(18)?.parse().ok()?)),
    }
}

/// The very process that had this pid and start time is there.
pub fn is_alive(pid: i32, start: u64) -> bool {
    pid > 0 && start_time(pid) == Some(start)
}
