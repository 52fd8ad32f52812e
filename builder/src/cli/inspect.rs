//! `builder inspect`: what an image is.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Global;
use super::showing::print;
use crate::error::{Error, Kind};
use crate::image::{self, Found};
use crate::registry::Reference;
use crate::store::Store;

/// Shows images as JSON
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The manifest or index, byte for byte
    #[arg(long, conflicts_with = "config")]
    raw: bool,
    /// The image config, byte for byte
    #[arg(long)]
    config: bool,
}

/// Prints a JSON array with one object per image, with the names of fields that docker and podman have.
pub(crate) fn inspect(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let store = Store::open(&global.store_root()?)?;
    let mut objects = Vec::new();
    for text in &args.images {
        let found = image::find(&store, text)?;
        if args.raw {
            print(&String::from_utf8_lossy(&store.read_blob(&found.descriptor.digest)?))?;
        } else if args.config {
            let manifest = image::summary(&store, &found.descriptor)?.manifest;
            let config = manifest
                .ok_or_else(|| Error::new(Kind::Invalid, format!("{text} has no config in the store")))?;
            print(&String::from_utf8_lossy(&store.read_blob(&config.config.digest)?))?;
        } else {
            objects.push(object(&store, &found)?);
        }
    }
    if !args.raw && !args.config {
        let shown = serde_json::to_string_pretty(&objects);
        print(&shown.map_err(|error| Error::new(Kind::Invalid, format!("write JSON: {error}")))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(store: &Store, found: &Found) -> Result<Value, Error> {
    let summary = image::summary(store, &found.descriptor)?;
    let digest = &found.descriptor.digest;
    let same = store.list()?.into_iter().filter(|image| image.descriptor.digest == *digest);
    let names: Vec<Reference> = same.filter_map(|image| image.name?.parse().ok()).collect();
    let digests = names.iter().map(|name| format!("{}@{digest}", name.familiar_name()));
    let config = summary.config.unwrap_or_default();
    let layers: Vec<&crate::store::Descriptor> =
        summary.manifest.iter().flat_map(|manifest| &manifest.layers).collect();
    Ok(json!({
        "Id": digest,
        "RepoTags": names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": digests.collect::<std::collections::BTreeSet<_>>(),
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": summary.size,
        "MediaType": found.descriptor.media_type,
        "Config": config.config,
        "RootFS": {"Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids},
        "Layers": layers,
        "Annotations": summary.manifest.as_ref().map(|manifest| &manifest.annotations),
    }))
}
