//! `builder tag`: more names for an image.

use std::process::ExitCode;

use super::Global;
use crate::error::Error;
use crate::image;
use crate::registry::Reference;
use crate::store::Store;

/// Gives an image more names
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Names that it gets
    #[arg(required = true, value_name = "NAME[:TAG]")]
    names: Vec<Reference>,
}

/// Prints nothing.
pub(crate) fn tag(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let found = image::find(&store, &args.image)?;
    for name in &args.names {
        image::tag(&store, name, &found.descriptor)?;
    }
    Ok(ExitCode::SUCCESS)
}
