//! `plan BUNDLE`: the decision that `create` would carry out, printed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::{Global, print};
use crate::error::Error;
use crate::plan::facts::Interest;
use crate::{bundle, host, plan as decide};

/// print what create would do with a bundle, and do nothing
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// do not use pivot root to jail process inside rootfs
    #[arg(long)]
    no_pivot: bool,
    /// plan for a container of this name
    #[arg(long, value_name = "container-id", default_value = "container")]
    id: String,
    #[arg(value_name = "bundle", default_value = ".")]
    bundle: PathBuf,
}

pub(super) fn plan(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let bundle = bundle::open(Path::new(&args.bundle))?;
    let options = decide::Options {
        id: crate::state::ContainerId::parse(&args.id)?.to_string(),
        bundle: bundle.dir.clone(),
        pivot: match args.no_pivot {
            true => decide::rootfs::Pivot::MoveOver,
            false => decide::rootfs::Pivot::PivotRoot,
        },
        keyring: decide::Keyring::Own(args.id.clone()),
        preserve_fds: 0,
        cgroups: global.cgroups,
        rootless: global.rootless,
    };
    let plan = decide::plan(&bundle.spec, &host::facts::measure(Interest::ALL)?, &options)?;
    print(&format!("{}\n", decide::show(&plan)));
    Ok(ExitCode::SUCCESS)
}
