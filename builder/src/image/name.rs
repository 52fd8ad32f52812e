//! Names of images in the store.

use crate::error::{Error, Kind};
use crate::registry::Reference;
use crate::store::{Descriptor, Store, Tagged};

/// The image of this name in the store: by name and tag, or by the digest where one is given.
pub fn resolve(store: &Store, reference: &Reference) -> Result<Option<Descriptor>, Error> {
    let Some(digest) = reference.digest() else { return store.resolve_name(&reference.to_string()) };
    let names_it = |image: &Tagged| image.descriptor.digest == *digest;
    let found = store.list()?.into_iter().find(names_it).map(|image| image.descriptor);
    Ok(found)
}

/// Gives `reference`'s name to `descriptor`. A digest in the reference must be the descriptor's.
pub fn tag(store: &Store, reference: &Reference, descriptor: &Descriptor) -> Result<(), Error> {
    match reference.digest() {
        Some(digest) if *digest != descriptor.digest => {
            Err(Error::new(Kind::Invalid, format!("name {} {reference}", descriptor.digest)))
        }
        _ => store.tag_name(&reference.to_string(), descriptor),
    }
}
