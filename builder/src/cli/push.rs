//! `builder push`: an image from the store to a registry.

use std::process::ExitCode;

use super::Global;
use super::showing::{Showing, print};
use crate::error::Error;
use crate::image::{self, Platform};
use crate::layer::Compression;
use crate::registry::Reference;
use crate::store::Store;

/// Sends an image to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the image in the store
    #[arg(value_name = "NAME[:TAG]")]
    name: Reference,
    /// Name that it gets, when that is another one
    #[arg(value_name = "DESTINATION")]
    destination: Option<Reference>,
    /// Only the image for this platform [default: every one that is in the store]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Send all layers compressed like this: none, gzip[:LEVEL] or zstd[:LEVEL]; those that are, at whatever level, go as they are
    #[arg(long, value_name = "KIND")]
    compression: Option<Compression>,
    #[command(flatten)]
    showing: Showing,
}

/// Prints the digest that the image has in the registry.
pub(crate) fn push(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let names = (&args.name, args.destination.as_ref().unwrap_or(&args.name));
    let how = (args.platform.as_ref(), args.compression);
    let digest = args.showing.work(|progress| image::push(&store, names, how, progress))?;
    print(digest.as_str())?;
    Ok(ExitCode::SUCCESS)
}
