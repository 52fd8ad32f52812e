//! Finding an image by what a user types: a name, or the beginning of an id.

use super::resolve;
use crate::error::{Error, Kind};
use crate::registry::Reference;
use crate::store::{Descriptor, Store};

/// An image in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// The name by which it was asked for; `None` for an id.
    pub reference: Option<Reference>,
}

/// The image that `text` means: a name that is in the store, else the only image whose digest begins with it.
pub fn find(store: &Store, text: &str) -> Result<Found, Error> {
    let named = text.parse::<Reference>();
    if let Ok(reference) = &named
        && let Some(descriptor) = resolve(store, reference)?
    {
        return Ok(Found { descriptor, reference: Some(reference.clone()) });
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    if prefix.len() >= 4 && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        let mut all: Vec<Descriptor> = store.list()?.into_iter().map(|image| image.descriptor).collect();
        all.retain(|descriptor| descriptor.digest.hex().starts_with(prefix));
        all.sort_by(|a, b| a.digest.cmp(&b.digest));
        all.dedup_by(|a, b| a.digest == b.digest);
        match (all.pop(), all.is_empty()) {
            (Some(descriptor), true) => return Ok(Found { descriptor, reference: None }),
            (Some(_), false) => {
                return Err(Error::new(
                    Kind::Invalid,
                    format!("{prefix} is the beginning of several images' ids"),
                ));
            }
            (None, _) => {}
        }
    }
    let reference = named?;
    Err(Error::new(Kind::Invalid, format!("{} is not in the store", reference.familiar()))
        .hint("builder images shows what is there; builder pull fetches it"))
}
