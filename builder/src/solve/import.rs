//! Caches of elsewhere that a build may take results from.

use super::solver::Kept;
use crate::error::Error;
use crate::image::Cache;
use crate::progress::Sender;
use crate::store::{Key, Store};

/// In the order of the flags.
#[derive(Default)]
pub(super) struct Imports<'a>(pub(super) &'a [Cache], pub(super) Option<&'a Sender>);

impl Imports<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the first cache that knows the key says; its layer is fetched, and the record becomes the store's own.
    ///
    /// A cache is a help and no more: one whose layer cannot be had does without, and says so.
    pub(super) fn find(&self, store: &Store, key: &Key) -> Result<Option<Kept>, Error> {
        for cache in self.0 {
            let Some(kept) = read(cache, key) else { continue };
            if let Kept::Layer(layer) = &kept
                && let Err(error) = cache.fetch(store, &layer.0)
            {
                if let Some(progress) = self.1 {
                    progress.warn(format!("a cached layer cannot be had: {error}"));
                }
                continue;
            }
            kept.write(store, key)?;
            return Ok(Some(kept));
        }
        Ok(None)
    }

    /// What some cache says of the key; nothing is fetched.
    pub(super) fn glance(&self, key: &Key) -> Option<Kept> {
        self.0.iter().find_map(|cache| read(cache, key))
    }
}

fn read(cache: &Cache, key: &Key) -> Option<Kept> {
    serde_json::from_value(cache.record(key.as_str())?.clone()).ok()
}
