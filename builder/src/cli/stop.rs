//! `builder stop`, `rm`, `ps` and `logs`: containers that `run` left behind or that run elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use super::Global;
use super::run::{self, Life};
use crate::error::{Error, Kind};
use crate::store::Store;
use crate::sys::userns;

/// Stops running containers: their stop signal, and SIGKILL after 10 seconds
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StopArgs {
    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Forgets ended containers
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RmArgs {
    /// Stop those that run
    #[arg(short, long)]
    force: bool,
    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Lists containers
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PsArgs {
    /// Those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// One JSON array
    #[arg(long)]
    json: bool,
}

/// Prints what a container in the background wrote
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogsArgs {
    /// Name of the container
    #[arg(value_name = "NAME")]
    name: String,
}

pub(crate) fn stop(args: &StopArgs, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    args.names.iter().try_for_each(|name| stop_one(&store, name))?;
    Ok(ExitCode::SUCCESS)
}

fn stop_one(store: &Store, name: &str) -> Result<(), Error> {
    let doing = |error| Error::system(format!("stop {name}"), error);
    let (record, life) = run::open_record(store, name)?;
    if life == Life::Ended {
        return Ok(());
    }
    let pid = supervisor(name, record.supervisor)?;
    let supervisor = match userns::pidfd_open(pid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        other => other.map_err(doing)?,
    };
    // Still running after the descriptor was opened: it is the supervisor's, and not a successor's of its pid.
    if run::open_record(store, name).is_ok_and(|(_, life)| life == Life::Running) {
        match userns::pidfd_send(&supervisor, libc::SIGTERM) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            other => other.map_err(doing)?,
        }
    }
    run::wait_for(store, name)
}

/// The process to signal. A record that was written wrongly must not end the machine, nor a whole process group.
fn supervisor(name: &str, recorded: u32) -> Result<i32, Error> {
    match i32::try_from(recorded) {
        Ok(pid @ 2..) => Ok(pid),
        _ => Err(Error::new(
            Kind::Invalid,
            format!("stop {name}: its record names process {recorded}, which no builder is"),
        )),
    }
}

pub(crate) fn remove(args: &RmArgs, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    for name in &args.names {
        if args.force {
            stop_one(&store, name)?;
            // One that was to be forgotten when it ends is gone now.
            if run::open_record(&store, name).is_err() {
                continue;
            }
        }
        run::remove_record(&store, name)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list(args: &PsArgs, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let doing = |error| Error::system("write the list", error);
    let records: Vec<_> = run::all_records(&store)?
        .into_iter()
        .filter(|(_, life)| args.all || *life == Life::Running)
        .collect();
    let mut out = io::stdout().lock();
    if args.json {
        let rows: Vec<_> = records
            .iter()
            .map(|(record, life)| {
                serde_json::json!({
                    "id": record.id, "name": record.name, "image": record.image, "ports": record.ports,
                    "status": status(record.exit_code, *life),
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::Value::Array(rows)).map_err(doing)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{:<24} {:<32} {:<14} PORTS", "NAME", "IMAGE", "STATUS").map_err(doing)?;
    for (record, life) in records {
        let status = status(record.exit_code, life);
        let ports = record.ports.join(", ");
        let line = format!("{:<24} {:<32} {status:<14} {ports}", record.name, record.image);
        writeln!(out, "{}", line.trim_end()).map_err(doing)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(exit_code: Option<u8>, life: Life) -> String {
    match (life, exit_code) {
        (Life::Running, _) => "running".to_owned(),
        (Life::Ended, Some(code)) => format!("exited ({code})"),
        (Life::Ended, None) => "killed".to_owned(),
    }
}

pub(crate) fn logs(args: &LogsArgs, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    run::open_record(&store, &args.name)?;
    let path = run::log_path(&store, &args.name);
    let doing = |error| Error::system(format!("read the log of {}", args.name), error);
    match File::open(&path) {
        // It ran in the foreground, where its output was seen.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(doing(error)),
        Ok(mut log) => {
            io::copy(&mut log, &mut io::stdout().lock()).map_err(doing)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
