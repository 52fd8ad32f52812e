//! `builder pull`: images from a registry into the store.

use std::process::ExitCode;

use super::Global;
use super::showing::{Showing, print};
use crate::error::Error;
use crate::image::{self, Platform};
use crate::registry::Reference;
use crate::store::Store;

/// Fetches images from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names of images
    #[arg(required = true, value_name = "NAME[:TAG|@DIGEST]")]
    names: Vec<Reference>,
    /// For which platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    #[command(flatten)]
    showing: Showing,
}

/// Prints the digest of each image's manifest.
pub(crate) fn pull(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    for name in &args.names {
        let descriptor = args.showing.work(|progress| image::pull(&store, name, &platform, progress))?;
        print(descriptor.digest.as_str())?;
    }
    Ok(ExitCode::SUCCESS)
}
