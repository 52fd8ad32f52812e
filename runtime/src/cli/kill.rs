//! `kill`: a signal to init, or to everybody.

use std::process::ExitCode;

use clap::Parser;

use super::Global;
use crate::error::{Error, Kind};
use crate::host::reach::{self, Reached};
use crate::host::{cgroup, neighbours, remove};
use crate::state::{ContainerId, PidNamespace, Record, Status};

/// kill sends the specified signal (default: SIGTERM) to the container's init process
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// send the specified signal to all processes inside the container
    #[arg(short, long)]
    all: bool,
    #[arg(value_name = "container-id")]
    id: String,
    #[arg(value_name = "signal", default_value = "SIGTERM", allow_negative_numbers = true)]
    signal: String,
}

pub(super) fn kill(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let signal = match args.signal.as_str() {
        "" => libc::SIGTERM,
        word => parse(word)?,
    };
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let record = root.load(&id)?;
    let status = remove::status(&record, &root.dir(&id))?;
    let shared = record.pid_namespace == PidNamespace::Shared;
    // With init gone the others of a shared pid namespace live on; only the cgroup knows them.
    let everybody = args.all || (signal == libc::SIGKILL && shared);
    if everybody && !record.cgroup.dirs.is_empty() && (status != Status::Stopped || shared) {
        if status == Status::Stopped {
            neighbours::refuse(&root.dir(&id), &record, "kill all in cgroup")?;
        }
        all(&record, signal)?;
    } else if status == Status::Stopped {
        match args.all {
            true => {}
            false => return Err(Error::new(Kind::Invalid, "container not running")),
        }
    } else {
        init(&record, signal)?;
    }
    // On v1 a frozen process dies only once it goes on.
    if signal == libc::SIGKILL && status == Status::Paused {
        cgroup::thaw(&record.cgroup)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn init(record: &Record, signal: i32) -> Result<(), Error> {
    let not_running = || Error::new(Kind::Invalid, "container not running");
    let found = reach::open(record.init.pid)?.ok_or_else(not_running)?;
    if !record.init.is_alive() {
        return Err(not_running());
    }
    match reach::signal(&found, record.init.pid, signal)? {
        Reached::Yes => Ok(()),
        Reached::HasEnded => Err(not_running()),
    }
}

fn all(record: &Record, signal: i32) -> Result<(), Error> {
    let mut pids = Vec::new();
    match signal {
        libc::SIGKILL => cgroup::kill_all(&record.cgroup)?,
        _ => pids = cgroup::procs(&record.cgroup)?,
    }
    for pid in &pids {
        if let Some(found) = reach::open(*pid)? {
            reach::signal(&found, *pid, signal)?;
        }
    }
    // One that has left the cgroup, as systemd and an init that may write to the host's tree can make it.
    match !pids.contains(&record.init.pid) && record.init.is_alive() {
        true => init(record, signal),
        false => Ok(()),
    }
}

/// A number, or a name with or without SIG, in either case; RTMIN+n and RTMAX-n too.
pub(crate) fn parse(word: &str) -> Result<i32, Error> {
    let unknown = || Error::new(Kind::Invalid, format!("unknown signal {word:?}"));
    if let Ok(number) = word.parse::<i32>() {
        return match (0..=libc::SIGRTMAX()).contains(&number) {
            true => Ok(number),
            false => Err(unknown()),
        };
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let distance = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => distance(rest, '+').map(|more| libc::SIGRTMIN() + more),
        (_, Some(rest)) => distance(rest, '-').map(|less| libc::SIGRTMAX() - less),
        _ => match name {
            "IOT" => Some(libc::SIGABRT),
            "CLD" => Some(libc::SIGCHLD),
            "POLL" => Some(libc::SIGIO),
            name => format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32),
        },
    };
    number.filter(|number| (1..=libc::SIGRTMAX()).contains(number)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_signal_has_many_spellings() {
        for (word, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("hup", 1),
            ("RTMIN+1", 35),
            ("sigrtmax-1", 63),
        ] {
            assert_eq!(parse(word).unwrap(), number, "{word}");
        }
        for bad in ["", "SIG", "-1", "65", "NOPE", "RTMIN+99", "RTMIN-1", "RTMIN+2147483647"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
