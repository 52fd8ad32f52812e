//! The build cache, as the solver reads and writes it.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::cell::Cell;
use super::Solver;
use crate::error::Error;
use crate::store::{Descriptor, Digest, Key, Record, Store};

/// What the cache says of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::solve) enum Kept {
    /// The step changed nothing.
    Unchanged,
    /// It made this layer.
    Layer(Box<(Descriptor, Digest)>),
    /// The key is of a definition; the result is under this one.
    As(Key),
}

impl Kept {
    /// What the record under a key says; one that was written by a version that says it otherwise is none.
    pub(in crate::solve) fn read(store: &Store, key: &Key) -> Result<Option<Self>, Error> {
        let record = store.record(key)?;
        let kept = record.and_then(|record| serde_json::from_value::<Self>(record.body).ok());
        Ok(kept.filter(|kept| kept.is_whole(store)))
    }

    /// A power failure may have cut the layer short.
    fn is_whole(&self, store: &Store) -> bool {
        match self {
            Self::Layer(stored) => store.holds(&stored.0),
            Self::Unchanged | Self::As(_) => true,
        }
    }

    /// Keeps it under the key, with the blob that it needs.
    pub(in crate::solve) fn write(&self, store: &Store, key: &Key) -> Result<(), Error> {
        let body = serde_json::to_value(self)
            .map_err(|error| Error::system(format!("write the record of {key}"), io::Error::from(error)))?;
        let blobs = match self {
            Self::Layer(stored) => vec![stored.0.digest.clone()],
            Self::Unchanged | Self::As(_) => Vec::new(),
        };
        store.put_record(key, &Record { blobs, body, ..Record::default() })
    }
}

impl Solver<'_> {
    fn known(&self, key: &Key) -> Result<Option<Kept>, Error> {
        match Kept::read(&self.env.store, key)? {
            Some(kept) => Ok(Some(kept)),
            None => self.imports.find(&self.env.store, key),
        }
    }

    /// The result under a key.
    pub(super) fn kept(&self, key: &Key) -> Result<Option<Option<Arc<Cell>>>, Error> {
        Ok(match self.known(key)? {
            Some(Kept::Unchanged) => Some(None),
            Some(Kept::Layer(stored)) => Some(Some(Cell::stored(stored.0, stored.1))),
            Some(Kept::As(_)) | None => None,
        })
    }

    /// The key of the result that a definition came to.
    pub(super) fn alias(&self, defined: &Key) -> Result<Option<Key>, Error> {
        match self.known(defined)? {
            Some(Kept::As(key)) => Ok(Some(key)),
            _ => Ok(None),
        }
    }

    pub(super) fn put_alias(&self, defined: &Key, key: &Key) -> Result<(), Error> {
        Kept::As(key.clone()).write(&self.env.store, defined)
    }
}
