//! Images in the store: finding one for a platform, and putting a new one in.

use std::collections::BTreeMap;

use super::manifest::{Document, Manifest};
use super::{Config, resolve};
use crate::error::{Error, Kind};
use crate::registry::Reference;
use crate::store::{Descriptor, Platform, Store, media};

/// An image that is whole: its manifest, config and every layer are in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Points at the manifest.
    pub descriptor: Descriptor,
    /// Its config and layers.
    pub manifest: Manifest,
    /// The config, read.
    pub config: Config,
}

/// The image of this name for `platform`; `None` where it is absent, or here only for other platforms or in part.
pub fn open(store: &Store, reference: &Reference, platform: &Platform) -> Result<Option<Image>, Error> {
    match resolve(store, reference)? {
        Some(descriptor) => open_descriptor(store, &descriptor, platform),
        None => Ok(None),
    }
}

/// The image that a descriptor of a manifest or an index means for `platform`.
pub fn open_descriptor(
    store: &Store,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<Option<Image>, Error> {
    if !store.holds(descriptor) {
        return Ok(None);
    }
    match Document::parse(&store.read_blob(&descriptor.digest)?, "")? {
        Document::Manifest(manifest) => {
            let image = read(store, descriptor, manifest)?;
            // An image without a platform in its config is taken as it is.
            Ok(image.filter(|image| image.config.os.is_empty() || image.config.platform().suits(platform)))
        }
        Document::Index(index) => match index.select(platform) {
            Some(selected) if store.holds(selected) => {
                match Document::parse(&store.read_blob(&selected.digest)?, "")? {
                    Document::Manifest(manifest) => read(store, selected, manifest),
                    Document::Index(_) => Err(Error::new(
                        Kind::Invalid,
                        format!("read {}: an index in an index", selected.digest),
                    )),
                }
            }
            _ => Ok(None),
        },
    }
}

fn read(store: &Store, descriptor: &Descriptor, manifest: Manifest) -> Result<Option<Image>, Error> {
    if !store.holds(&manifest.config) || !manifest.layers.iter().all(|layer| store.holds(layer)) {
        return Ok(None);
    }
    let config = parse_config(&store.read_blob(&manifest.config.digest)?, &manifest)?;
    Ok(Some(Image { descriptor: descriptor.clone(), manifest, config }))
}

/// Reads a config, and compares its layers with the manifest's: as many diff ids as layers.
pub(super) fn parse_config(bytes: &[u8], manifest: &Manifest) -> Result<Config, Error> {
    let config: Config = serde_json::from_slice(bytes).map_err(|error| {
        Error::new(Kind::Invalid, format!("read the image config {}: {error}", manifest.config.digest))
    })?;
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers == diff_ids {
        return Ok(config);
    }
    let text =
        format!("read the image config {}: {diff_ids} diff ids for {layers} layers", manifest.config.digest);
    Err(Error::new(Kind::Attack, text))
}

/// Stores the config and a manifest over it; the layers are there already. The descriptor carries the platform.
pub fn put(
    store: &Store,
    config: &Config,
    layers: &[Descriptor],
    annotations: BTreeMap<String, String>,
) -> Result<Descriptor, Error> {
    let json = |error: serde_json::Error| Error::new(Kind::Invalid, format!("write an image: {error}"));
    let config_blob = store.put_blob(media::CONFIG, &serde_json::to_vec(config).map_err(json)?)?;
    put_raw(store, &Manifest::new(config_blob, layers.to_vec(), annotations), config)
}

/// Stores a manifest whose blobs are there.
pub(super) fn put_raw(store: &Store, manifest: &Manifest, config: &Config) -> Result<Descriptor, Error> {
    let bytes = serde_json::to_vec(manifest)
        .map_err(|error| Error::new(Kind::Invalid, format!("write an image: {error}")))?;
    let mut descriptor = store.put_blob(media::MANIFEST, &bytes)?;
    descriptor.platform = Some(config.platform());
    Ok(descriptor)
}
