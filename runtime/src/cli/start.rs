//! `start`: the created container's program begins.

use std::process::ExitCode;

use clap::Parser;

use super::{Global, notify};
use crate::bundle;
use crate::error::{Error, Kind};
use crate::host::{hooks, notify::listen, reach, remove, start as host};
use crate::plan;
use crate::state::{ContainerId, Record, Status};

/// executes the user defined process in a created container
#[derive(Parser, Debug)]
pub(super) struct Args {
    #[arg(value_name = "container-id")]
    id: String,
}

pub(super) fn start(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let entry = root.locked(&id)?;
    let record = root.load(&id)?;
    let refuse = |text: &str| Err(Error::new(Kind::Invalid, text));
    match remove::status(&record, entry.path())? {
        Status::Created => {}
        Status::Stopped => return refuse("cannot start a container that has stopped"),
        Status::Running => return refuse("cannot start an already running container"),
        other => return refuse(&format!("cannot start a container in the {other} state")),
    }
    let relay = notify::manager().map(|manager| listen(&entry, &manager)).transpose()?.flatten();
    host::start(&entry)?;
    poststart(&root.config(&id)?, &record)?;
    if let Some(relay) = relay
        && let Err(error) = notify::after_start(&relay, &record, &entry)
    {
        // The container runs: a manager that cannot be told is no failure of it.
        global.log.warn(&error.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// When a hook fails the container is stopped (specification, "Lifecycle", step 9).
fn poststart(config: &str, record: &Record) -> Result<(), Error> {
    // Most have none, and parsing costs more than all the rest.
    if !config.contains("poststart") {
        return Ok(());
    }
    let hooks = plan::hooks::plan(&bundle::recorded(config)?)?.poststart;
    let run = hooks::run(&hooks, "poststart", "running", record);
    if run.is_err()
        && let Ok(Some(init)) = reach::open(record.init.pid)
        && record.init.is_alive()
    {
        drop(reach::signal(&init, record.init.pid, libc::SIGKILL));
    }
    run
}
