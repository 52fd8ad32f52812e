//! Names of images: the entries of `index.json`.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::temporary::Lasting;
use super::{Descriptor, Digest, Lock, Store, media};
use crate::error::{Error, Kind};

/// The annotation that holds an entry's full name, as the image layout defines it.
pub const NAME: &str = "org.opencontainers.image.ref.name";
pub(super) const EMPTY: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// An image under its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged {
    /// The canonical name, as `Reference` displays it; `None` for an image that lost its name to a newer one.
    pub name: Option<String>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

impl Store {
    /// The image of this canonical name.
    pub fn resolve_name(&self, name: &str) -> Result<Option<Descriptor>, Error> {
        let found = self.list()?.into_iter().find(|image| image.name.as_deref() == Some(name));
        Ok(found.map(|image| image.descriptor))
    }

    /// Every image, in order of naming.
    pub fn list(&self) -> Result<Vec<Tagged>, Error> {
        let tagged =
            |mut descriptor: Descriptor| Tagged { name: descriptor.annotations.remove(NAME), descriptor };
        Ok(self.read_index()?.manifests.into_iter().map(tagged).collect())
    }

    /// Gives the canonical `name` to `descriptor`; an image that had it stays without a name.
    pub fn tag_name(&self, name: &str, descriptor: &Descriptor) -> Result<(), Error> {
        if !self.has(&descriptor.digest) {
            return Err(Error::new(
                Kind::Invalid,
                format!("name {name}: {} is not in the store", descriptor.digest),
            ));
        }
        self.change_index(|manifests| {
            let mut entry = descriptor.clone();
            entry.annotations.insert(NAME.to_owned(), name.to_owned());
            if manifests.contains(&entry) {
                return;
            }
            let displaced = take_named(manifests, name).filter(|old| old.digest != entry.digest);
            manifests.retain(|old| old.digest != entry.digest || old.annotations.contains_key(NAME));
            manifests.push(entry);
            if let Some(mut old) = displaced
                && !manifests.iter().any(|kept| kept.digest == old.digest)
            {
                old.annotations.remove(NAME);
                manifests.push(old);
            }
        })
    }

    /// Keeps `descriptor` without a name, unless it is kept already.
    pub fn keep(&self, descriptor: &Descriptor) -> Result<(), Error> {
        self.change_index(|manifests| {
            if manifests.iter().all(|entry| entry.digest != descriptor.digest) {
                let mut entry = descriptor.clone();
                entry.annotations.remove(NAME);
                manifests.push(entry);
            }
        })
    }

    /// Takes the canonical `name` away; the image is no longer kept for it. Whether there was such a name.
    pub fn untag_name(&self, name: &str) -> Result<bool, Error> {
        let mut found = false;
        self.change_index(|manifests| found = take_named(manifests, name).is_some())?;
        Ok(found)
    }

    /// Forgets every entry of this digest, named or not.
    pub fn forget(&self, digest: &Digest) -> Result<(), Error> {
        self.change_index(|manifests| manifests.retain(|entry| entry.digest != *digest))
    }

    /// Forgets images without a name; returns what they were.
    pub fn forget_nameless(&self) -> Result<Vec<Descriptor>, Error> {
        let mut gone = Vec::new();
        self.change_index(|manifests| {
            let (kept, nameless) =
                manifests.drain(..).partition(|entry| entry.annotations.contains_key(NAME));
            *manifests = kept;
            gone = nameless;
        })?;
        Ok(gone)
    }

    fn read_index(&self) -> Result<Index, Error> {
        let path = self.path("index.json");
        let bytes =
            fs::read(&path).map_err(|error| Error::system(format!("read {}", path.display()), error))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::Invalid, format!("read {}: {error}", path.display())))
    }

    /// Readers see the index before or after the change; writers take turns.
    fn change_index(&self, change: impl FnOnce(&mut Vec<Descriptor>)) -> Result<(), Error> {
        let _turn = Lock::exclusive(&self.path("index.lock"))?;
        let mut index = self.read_index()?;
        let before = index.manifests.clone();
        change(&mut index.manifests);
        // A build that made the same again need not wait for the disk.
        if index.manifests == before {
            return Ok(());
        }
        media::INDEX.clone_into(&mut index.media_type);
        let bytes = serde_json::to_vec(&index)
            .map_err(|error| Error::new(Kind::Invalid, format!("write index.json: {error}")))?;
        self.replace_file("index.json", &bytes, Lasting::Synced)
    }
}

fn take_named(manifests: &mut Vec<Descriptor>, name: &str) -> Option<Descriptor> {
    let at =
        manifests.iter().position(|entry| entry.annotations.get(NAME).is_some_and(|held| held == name))?;
    Some(manifests.remove(at))
}
