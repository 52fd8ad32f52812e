//! `events`: counters at intervals, and a line for each time the kernel killed for want of memory.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

use super::{Global, print, write};
use crate::error::{Error, Kind};
use crate::host::cgroup::oom::{Happened, Watch};
use crate::host::{cgroup, rdt, remove};
use crate::state::{ContainerId, Record, Status};

/// display container events such as OOM notifications, cpu, memory, and IO usage statistics
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// set the stats collection interval
    #[arg(long, value_name = "duration", default_value = "5s", allow_negative_numbers = true)]
    interval: String,
    /// display the container's stats then exit
    #[arg(long)]
    stats: bool,
    #[arg(value_name = "container-id")]
    id: String,
}

pub(super) fn events(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let record = root.load(&id)?;
    let interval = duration(&args.interval).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("invalid value for interval: {:?}", args.interval))
    })?;
    if interval.is_zero() {
        return Err(Error::new(Kind::Invalid, "duration interval must be greater than 0"));
    }
    if remove::status(&record, &root.dir(&id))? == Status::Stopped {
        return Err(Error::new(Kind::Invalid, format!("container with id {id} is not running")));
    }
    match args.stats {
        true => {
            print(&stats(&record));
            Ok(ExitCode::SUCCESS)
        }
        false => follow(&record, interval),
    }
}

/// What a shell shows of a program that SIGPIPE has ended.
const ENDED_BY_SIGPIPE: u8 = 128 + 13;

/// Until the container ends, or nobody reads any more.
fn follow(record: &Record, interval: Duration) -> Result<ExitCode, Error> {
    let mut watch = Watch::new(record)?;
    // None is further away than the clock goes.
    let mut next = Instant::now().checked_add(interval);
    loop {
        let line = match watch.wait(next)? {
            Happened::Oom => format!("{}\n", json!({ "type": "oom", "id": record.id })),
            Happened::Ended => return Ok(ExitCode::SUCCESS),
            Happened::Nothing => {
                next = Instant::now().checked_add(interval);
                stats(record)
            }
        };
        match write(&line) {
            Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::from(ENDED_BY_SIGPIPE));
            }
            _ => {}
        }
    }
}

fn stats(record: &Record) -> String {
    let mut stats = cgroup::stats::stats(&record.cgroup);
    if let Some(group) = &record.rdt {
        stats.intel_rdt = rdt::stats(group);
    }
    let line = json!({ "type": "stats", "id": record.id, "data": stats });
    format!("{line}\n")
}

/// Go's notation: `1h2m3.5s`, `100ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    if rest == "0" {
        return Some(sum);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        let tail = rest.get(end..)?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let unit = match tail.get(..end)? {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        rest = tail.get(end..)?;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::{Duration, duration};

    #[test]
    fn durations_are_written_as_in_go() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("1m30.5s"), Some(Duration::from_millis(90_500)));
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        for bad in ["", "5", "s", "-1s", "5x", "1s2"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
