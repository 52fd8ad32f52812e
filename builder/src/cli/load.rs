//! `builder load`: images from a file or a directory into the store.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Global;
use super::showing::print;
use crate::error::Error;
use crate::image::{self, Input};
use crate::registry::Reference;
use crate::store::Store;

/// Reads images from an OCI layout (a directory or a tar) or a docker archive
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file or directory [default: standard input]
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Name for images that come without one
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Option<Reference>,
}

/// Prints the name of each image, or its digest where it has none.
pub(crate) fn load(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let mut stdin = std::io::stdin();
    let input = args.input.as_deref().map_or(Input::Stream(&mut stdin), Input::Path);
    for found in image::load(&store, input, args.tag.as_ref())? {
        let name = found.reference.as_ref().or(args.tag.as_ref()).map(Reference::familiar);
        print(&format!("Loaded: {}", name.unwrap_or_else(|| found.descriptor.digest.to_string())))?;
    }
    Ok(ExitCode::SUCCESS)
}
