//! The build cache: what a step with a given key made.

use std::fmt;
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::temporary::Lasting;
use super::{Digest, Store, is_hex, nullable};
use crate::error::{Error, Kind};

/// Name of a snapshot or of a step's result: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// The keys of the snapshots of an image with these layers, lowest first: each layer's chain id.
    pub fn chain(diff_ids: &[Digest]) -> Vec<Self> {
        let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            let id = match chain.last() {
                None => diff_id.clone(),
                Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            };
            chain.push(id);
        }
        chain.iter().map(Self::from).collect()
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Digest> for Key {
    fn from(digest: &Digest) -> Self {
        Self(digest.hex().to_owned())
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if is_hex(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(
            Kind::Invalid,
            format!("invalid key \"{}\": expected 64 hexadecimal digits", text.escape_debug()),
        ))
    }
}

impl TryFrom<String> for Key {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a step made. `blobs` and `snapshots` are kept for as long as the record is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Blobs that it needs.
    #[serde(default, deserialize_with = "nullable")]
    pub blobs: Vec<Digest>,
    /// Snapshots that it needs.
    #[serde(default, deserialize_with = "nullable")]
    pub snapshots: Vec<Key>,
    /// The rest, in the words of whoever wrote it.
    #[serde(default)]
    pub body: serde_json::Value,
}

impl Store {
    /// The record under `key`, if all that it needs is still here. Marks it as used now.
    pub fn record(&self, key: &Key) -> Result<Option<Record>, Error> {
        let path = self.record_path(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::system(format!("read {}", path.display()), error)),
        };
        // A record that cannot be read is one that is not there: the step runs again and writes it anew.
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return Ok(None) };
        let complete = record.blobs.iter().all(|digest| self.has(digest))
            && record.snapshots.iter().all(|snapshot| self.has_snapshot(snapshot));
        if complete && let Ok(file) = File::open(&path) {
            // Only the order of eviction depends on it.
            drop(file.set_times(FileTimes::new().set_modified(SystemTime::now())));
        }
        Ok(complete.then_some(record))
    }

    /// Keeps `record` under `key`, in place of an older one. Not synced: a build writes one a step, and waits for none of them.
    pub fn put_record(&self, key: &Key, record: &Record) -> Result<(), Error> {
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Error::new(Kind::Invalid, format!("write the record of {key}: {error}")))?;
        self.replace_file(&format!("keys/{key}"), &bytes, Lasting::Renewable)
    }

    pub(super) fn record_path(&self, key: &Key) -> PathBuf {
        self.path("keys").join(key.as_str())
    }
}
