//! `delete`: what is left of a container goes away.

use std::process::ExitCode;

use clap::Parser;

use super::Global;
use crate::bundle;
use crate::error::{Error, Kind};
use crate::host::remove::Others;
use crate::host::{hooks, remove, seize};
use crate::plan::hooks::Hooks;
use crate::state::{ContainerId, Entry, Found, Record, Root, Status};

/// delete any resources held by the container often used with detached container
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// Forcibly deletes the container if it is still running (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    #[arg(value_name = "container-id")]
    id: String,
}

/// Engines call `delete --force` after `delete` once more: a container that is not there is what was wanted.
pub(super) fn delete(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    // Whoever creates or starts it at this moment comes to an end first, by force if he takes long; a killed one holds no lock.
    let locked = if args.force { seize::locked(&root, &id) } else { root.locked(&id) };
    let entry = match locked {
        Ok(entry) => entry,
        Err(_) if args.force && !root.dir(&id).exists() => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error),
    };
    match root.find(&id) {
        Ok(Found::Container(record)) => one(args, (&entry, &record), (&root, global))?,
        Ok(Found::Intent(intent)) if args.force => remove::intent(&entry, &intent)?,
        Ok(Found::Corrupt(_)) if args.force => entry.remove()?,
        Ok(Found::Intent(_)) => {
            let text = format!("cannot delete container {id}: its creation was cut off");
            return Err(Error::new(Kind::Invalid, text).hint("delete --force cleans up"));
        }
        Ok(Found::Corrupt(error)) => return Err(error.hint("delete --force cleans up")),
        Err(error) => return Err(error),
    }
    Ok(ExitCode::SUCCESS)
}

fn one(
    args: &Args,
    (entry, record): (&Entry, &Record),
    (root, global): (&Root, &Global),
) -> Result<(), Error> {
    let id = ContainerId::parse(&record.id)?;
    let status = remove::status(record, entry.path())?;
    match status {
        Status::Stopped | Status::Created | Status::Creating => {}
        Status::Running | Status::Paused if args.force => {}
        Status::Running | Status::Paused => {
            let text = format!("cannot delete container {id} that is not stopped: {status}");
            return Err(Error::new(Kind::Invalid, text));
        }
    }
    let others = if args.force { Others::Left } else { Others::Refused };
    // Read before the removal, run after it.
    match plan_hooks(&root.config(&id)?) {
        Ok(hooks) => end((entry, record), others, &hooks),
        Err(error) if args.force => {
            remove::container(entry, record, others)?;
            global.log.warn(&format!("poststop hooks are not run: {error}"));
            Ok(())
        }
        Err(error) => {
            remove::container(entry, record, others)?;
            Err(error)
        }
    }
}

/// Removes the container, and runs what is to be run then.
pub(super) fn end((entry, record): (&Entry, &Record), others: Others, hooks: &Hooks) -> Result<(), Error> {
    remove::container(entry, record, others)?;
    hooks::run(&hooks.poststop, "poststop", "stopped", record)
}

fn plan_hooks(config: &str) -> Result<Hooks, Error> {
    crate::plan::hooks::plan(&bundle::recorded(config)?)
}
