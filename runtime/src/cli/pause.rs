//! `pause` and `resume`.

use std::process::ExitCode;

use clap::Parser;

use super::Global;
use crate::error::{Error, Kind};
use crate::host::{cgroup, remove};
use crate::state::{ContainerId, Record, Status};

/// pause suspends all processes inside the container
#[derive(Parser, Debug)]
#[command(name = "pause")]
pub(super) struct Args {
    #[arg(value_name = "container-id")]
    id: String,
}

pub(super) fn pause(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let (record, status) = look(args, global)?;
    match status {
        Status::Running | Status::Created => cgroup::freeze(&record.cgroup)?,
        _ => {
            return Err(Error::new(
                Kind::Invalid,
                "container not running or created: ".to_owned() + &status.to_string(),
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let (record, status) = look(args, global)?;
    match status {
        Status::Paused => cgroup::thaw(&record.cgroup)?,
        _ => return Err(Error::new(Kind::Invalid, "container not paused")),
    }
    Ok(ExitCode::SUCCESS)
}

fn look(args: &Args, global: &Global) -> Result<(Record, Status), Error> {
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let record = root.load(&id)?;
    let status = remove::status(&record, &root.dir(&id))?;
    Ok((record, status))
}
