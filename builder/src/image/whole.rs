//! What of an image can leave the store.

use super::manifest::Document;
use super::open_descriptor;
use crate::error::{Error, Kind};
use crate::store::{Descriptor, Platform, Store};

/// With a `platform` the image for it; else an index as it is when every image of it is here, or the one image that
/// was pulled out of it.
pub(super) fn chosen(
    store: &Store,
    top: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Descriptor, Error> {
    let whole = match Document::parse(&store.read_blob(&top.digest)?, "")? {
        Document::Manifest(_) => true,
        Document::Index(index) => index.manifests.iter().all(|child| store.holds(child)),
    };
    if whole && platform.is_none() {
        return Ok(top.clone());
    }
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    open_descriptor(store, top, &wanted)?.map(|image| image.descriptor).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("{} is not in the store for {wanted}", top.digest.short()))
            .hint("builder pull --platform fetches it")
    })
}
