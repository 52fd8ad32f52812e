//! `builder save`: images from the store into one file.

use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use super::Global;
use super::deliver::write_file;
use crate::error::{Error, Kind};
use crate::image::{self, Format, Found, Platform};
use crate::layer::Sink;
use crate::store::Store;

/// Writes images to a tar
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Its form
    #[arg(long, value_enum, default_value = "oci-archive")]
    format: Format,
    /// Only the images for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
}

/// A file appears under its name when it is whole.
pub(crate) fn save(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let _in_use = store.share()?;
    let images =
        args.images.iter().map(|text| image::find(&store, text)).collect::<Result<Vec<Found>, Error>>()?;
    let chosen = (images.as_slice(), args.platform.as_ref());
    let Some(path) = &args.output else {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            let text = "save: standard output is a terminal";
            return Err(Error::new(Kind::Invalid, text).hint("name a file with --output, or redirect it"));
        }
        let mut out = BufWriter::new(stdout.lock());
        image::save(&store, chosen, args.format, Sink::Stream(&mut out))?;
        return Ok(ExitCode::SUCCESS);
    };
    write_file(path, |out| image::save(&store, chosen, args.format, out))?;
    Ok(ExitCode::SUCCESS)
}
