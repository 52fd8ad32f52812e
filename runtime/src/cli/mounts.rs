//! `mounts add` and `mounts remove`: crun's commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::Global;
use super::create::keep_from_children;
use crate::bundle;
use crate::error::{Error, Kind};
use crate::host::{facts, live_mounts, remove, seal};
use crate::plan::facts::Interest;
use crate::plan::live;
use crate::state::{ContainerId, Status};

/// add or remove mounts while the container is running
#[derive(Parser, Debug)]
pub(super) struct Args {
    #[arg(value_name = "add|remove")]
    deed: String,
    #[arg(value_name = "container-id")]
    id: String,
    /// a JSON list of mounts as in the configuration; to remove them, their destinations are enough
    #[arg(value_name = "file")]
    file: PathBuf,
}

pub(super) fn mounts(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let deed = match args.deed.as_str() {
        "add" => live::add,
        "remove" => {
            |spec: &_, mounts: Vec<_>, facts: &_, at: (&str, &Path)| live::remove(spec, &mounts, facts, at)
        }
        word => {
            let text = format!("unknown command {word:?}: must be add or remove");
            return Err(Error::new(Kind::Invalid, text));
        }
    };
    seal::protect()?;
    keep_from_children()?;
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let record = root.load(&id)?;
    if remove::status(&record, &root.dir(&id))? == Status::Stopped {
        return Err(Error::new(Kind::Invalid, "cannot change the mounts of a stopped container"));
    }
    let mounts = bundle::mounts(&args.file)?;
    let spec = bundle::recorded(&root.config(&id)?)?;
    let change = deed(&spec, mounts, &facts::measure(Interest::ALL)?, (&args.id, &record.bundle))?;
    live_mounts::change(&record, &change)?;
    Ok(ExitCode::SUCCESS)
}
