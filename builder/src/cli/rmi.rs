//! `builder rmi`: names of images, and what only they needed.

use std::process::ExitCode;

use super::Global;
use super::showing::print;
use crate::error::{Error, Kind};
use crate::image;
use crate::registry::Reference;
use crate::store::{Policy, Store, Tagged};
use crate::sys::userns::{self, Side};

/// Removes images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove an id with all of its names; an image that is not there is no error
    #[arg(short, long)]
    force: bool,
}

/// Prints what was untagged and deleted.
pub(crate) fn rmi(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    // Snapshots have files of many owners, which only the namespace that made them can remove.
    if let Side::Outer(code) = userns::enter()? {
        return Ok(code);
    }
    let store = Store::open(&global.store_root()?)?;
    for text in &args.images {
        match image::find(&store, text) {
            Ok(found) => remove(&store, &found, args.force)?,
            Err(_) if args.force => {}
            Err(error) => return Err(error),
        }
    }
    // While a build or a container uses the store, its files stay for the next prune.
    if let Some(_alone) = store.alone()? {
        store.collect(Policy::KeepCache)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(store: &Store, found: &image::Found, force: bool) -> Result<(), Error> {
    let digest = &found.descriptor.digest;
    if let Some(reference) = found.reference.as_ref().filter(|reference| reference.digest().is_none()) {
        store.untag_name(&reference.to_string())?;
        print(&format!("Untagged: {}", reference.familiar()))?;
    } else {
        let names: Vec<String> = names(store.list()?, found);
        if names.len() > 1 && !force {
            let text = format!("remove {}: it has several names: {}", digest.short(), names.join(", "));
            return Err(Error::new(Kind::Invalid, text).hint("remove the names, or use --force"));
        }
        store.forget(digest)?;
        for name in names {
            print(&format!("Untagged: {name}"))?;
        }
    }
    if store.list()?.iter().all(|image| image.descriptor.digest != *digest) {
        print(&format!("Deleted: {digest}"))?;
    }
    Ok(())
}

fn names(images: Vec<Tagged>, found: &image::Found) -> Vec<String> {
    let same = images.into_iter().filter(|image| image.descriptor.digest == found.descriptor.digest);
    let familiar = |name: String| name.parse::<Reference>().map_or(name, |reference| reference.familiar());
    same.filter_map(|image| image.name).map(familiar).collect()
}
