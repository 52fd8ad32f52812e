//! `builder save`: images from the store into one file.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind};
use crate::image::{self, Format, Found, Platform};
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
        image::save(&store, chosen, args.format, &mut BufWriter::new(stdout.lock()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let doing = |error| Error::system(format!("write {}", path.display()), error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    let mut file = BufWriter::new(File::create_new(&draft).map_err(doing)?);
    let saved = image::save(&store, chosen, args.format, &mut file)
        .and_then(|()| file.flush().and_then(|()| fs::rename(&draft, path)).map_err(doing));
    if saved.is_err() {
        drop(fs::remove_file(&draft)); // the error that is returned matters more
    }
    saved.map(|()| ExitCode::SUCCESS)
}
