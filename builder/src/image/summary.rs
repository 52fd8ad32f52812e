//! What there is to say about an image without unpacking it.

use super::manifest::{Document, Index, Manifest};
use super::stored::parse_config;
use super::{Config, open_descriptor};
use crate::error::Error;
use crate::store::{Descriptor, Digest, Platform, Store};

/// An image, for lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Digest of its manifest, or of its index.
    pub id: Digest,
    /// The config of one of its images: this machine's platform where it is there.
    pub config: Option<Config>,
    /// The manifest of that image.
    pub manifest: Option<Manifest>,
    /// Bytes of its blobs that are in the store.
    pub size: u64,
}

/// Reads what is there of the image; what is damaged or absent is left out.
pub fn summary(store: &Store, descriptor: &Descriptor) -> Result<Summary, Error> {
    let mut found =
        Summary { id: descriptor.digest.clone(), config: None, manifest: None, size: descriptor.size };
    let bytes = store.read_blob(&descriptor.digest)?;
    match Document::parse(&bytes, "")? {
        Document::Manifest(manifest) => found.take(store, manifest),
        Document::Index(index) => {
            let here = open_descriptor(store, descriptor, &Platform::host())?.map(|image| image.manifest);
            if let Some(manifest) = here.or_else(|| any(store, &index)) {
                found.take(store, manifest);
            }
        }
    }
    Ok(found)
}

impl Summary {
    fn take(&mut self, store: &Store, manifest: Manifest) {
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        self.size += blobs.filter(|blob| store.holds(blob)).map(|blob| blob.size).sum::<u64>();
        let bytes = store.read_blob(&manifest.config.digest).ok();
        self.config = bytes.and_then(|bytes| parse_config(&bytes, &manifest).ok());
        self.manifest = Some(manifest);
    }
}

/// The first image of an index that is in the store.
fn any(store: &Store, index: &Index) -> Option<Manifest> {
    let mut here = index.manifests.iter().filter(|manifest| store.holds(manifest));
    here.find_map(|manifest| match Document::parse(&store.read_blob(&manifest.digest).ok()?, "").ok()? {
        Document::Manifest(manifest) => Some(manifest),
        Document::Index(_) => None,
    })
}
