//! `builder unpack`: an image's files in a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Global;
use crate::error::{Error, Kind};
use crate::image::{self, Image, Platform};
use crate::layer::{self, Compression, Ownership, Unpack, Whiteouts};
use crate::store::Store;
use crate::sys::root;
use crate::sys::userns::{self, Owners, Side};

/// Writes an image's files into a directory
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The directory, empty or absent
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// For which platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Give every file to this user, not to the owners that the image names
    #[arg(long)]
    squash: bool,
}

/// Prints nothing; what could not be made is told on stderr.
pub(crate) fn unpack(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    if let Side::Outer(code) = userns::enter()? {
        return Ok(code);
    }
    let store = Store::open(&global.store_root()?)?;
    let _in_use = store.share()?;
    let found = image::find(&store, &args.image)?;
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let image = image::open_descriptor(&store, &found.descriptor, &platform)?.ok_or_else(|| {
        Error::new(Kind::Invalid, format!("{} is not in the store for {platform}", args.image))
            .hint("builder pull --platform fetches it")
    })?;
    make_empty(&args.directory)?;
    let owners = if args.squash { Owners::Squashed } else { userns::owners() };
    lay_down(&store, &image, &args.directory, owners)?;
    Ok(ExitCode::SUCCESS)
}

fn make_empty(directory: &Path) -> Result<(), Error> {
    let doing = |error| Error::system(format!("make {}", directory.display()), error);
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = fs::read_dir(directory).map_err(doing)?;
            match entries.next() {
                None => Ok(()),
                Some(_) => Err(Error::new(Kind::Invalid, format!("{} is not empty", directory.display()))),
            }
        }
        made => made.map_err(doing),
    }
}

fn lay_down(store: &Store, image: &Image, directory: &Path, owners: Owners) -> Result<(), Error> {
    let into =
        root::open_dir(directory).map_err(|e| Error::system(format!("open {}", directory.display()), e))?;
    let options = Unpack { owners: Ownership::of_archive(owners), whiteouts: Whiteouts::Applied };
    for (blob, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
        let compression = Compression::of_media_type(&blob.media_type).ok_or_else(|| {
            Error::new(Kind::Unsupported, format!("unpack {}: {}", blob.digest, blob.media_type))
        })?;
        let reader = store.open_blob(&blob.digest)?;
        let unpacked = layer::unpack(reader, compression, std::os::fd::AsFd::as_fd(&into), &options)?;
        if unpacked.diff_id != *diff_id {
            let text = format!("unpack {}: its content is {}, not {diff_id}", blob.digest, unpacked.diff_id);
            return Err(Error::new(Kind::Attack, text));
        }
        for note in unpacked.notes {
            super::note(&note);
        }
    }
    Ok(())
}
