//! A build cache outside the store: records by key and the layers that they name, as an OCI artifact in a directory or a registry,
//! or the records alone inside the config of an image.
//!
//! Nothing is fetched but what a build asks for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{Document, Index};
use crate::error::{Error, Kind};
use crate::registry::{Access, Credentials, Reference, Repository, Settings};
use crate::store::{Descriptor, Digest, Platform, Store, media};
use crate::sys::{draft, root};

/// The media type of the records.
const RECORDS: &str = "application/vnd.coracle.cache.v1+json";
/// The member of an image's config that holds them.
pub const INLINE: &str = "coracle.cache.v1";
const INDEX: &str = "index.json";
const LARGEST_DOCUMENT: u64 = 64 << 20;

/// Records by key, in the words of whoever wrote them.
pub type CacheRecords = BTreeMap<String, Value>;

/// Where a cache is, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// An OCI layout in a directory.
    Directory(PathBuf),
    /// A repository's tag.
    Registry(Reference),
}

/// A cache that was found.
pub struct Cache {
    records: CacheRecords,
    from: From,
}

enum From {
    Directory(Layout),
    Registry(Box<Repository>),
}

/// A directory that anybody may have filled: it is never left, and nothing but files is read.
struct Layout {
    root: OwnedFd,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Cache {
    /// Reads its records; `None` where there is no cache.
    ///
    /// # Errors
    /// A place that cannot be read, or holds something else.
    pub fn open(place: &CachePlace) -> Result<Option<Self>, Error> {
        match place {
            CachePlace::Directory(directory) => Self::in_directory(directory),
            CachePlace::Registry(reference) => Self::in_registry(reference),
        }
    }

    fn in_directory(directory: &Path) -> Result<Option<Self>, Error> {
        let Some((layout, index)) = Layout::open(directory)? else { return Ok(None) };
        let index: Index = parsed(&layout.read((index, INDEX.as_ref()))?)?;
        let from = From::Directory(layout);
        for entry in &index.manifests {
            let manifest: Manifest = parsed(&from.document(entry)?)?;
            if manifest.config.media_type == RECORDS {
                let records = parsed(&from.document(&manifest.config)?)?;
                return Ok(Some(Self { records, from }));
            }
        }
        let text =
            format!("read the cache in {}: it is an image layout without a cache", directory.display());
        Err(Error::new(Kind::Invalid, text))
    }

    fn in_registry(reference: &Reference) -> Result<Option<Self>, Error> {
        let repository = Repository::new(
            Settings::from_environment()?.home(reference),
            reference,
            Access::Pull,
            &Credentials::from_environment(),
        )?;
        let name = reference.digest().map_or_else(|| reference.tag().unwrap_or("latest"), Digest::as_str);
        let Some(mut fetched) = repository.manifest(name)? else { return Ok(None) };
        let is_index =
            serde_json::from_slice::<Value>(&fetched.bytes).is_ok_and(|v| v.get("manifests").is_some());
        if is_index && let Document::Index(index) = Document::parse(&fetched.bytes, &fetched.media_type)? {
            let Some(chosen) = index.select(&Platform::host()) else { return Ok(None) };
            let Some(child) = repository.manifest(chosen.digest.as_str())? else { return Ok(None) };
            fetched = child;
        }
        let manifest: Manifest = parsed(&fetched.bytes)?;
        let from = From::Registry(Box::new(repository));
        let config = from.document(&manifest.config)?;
        let records = if manifest.config.media_type == RECORDS {
            parsed(&config)?
        } else {
            let config: BTreeMap<String, Value> = parsed(&config)?;
            match config.get(INLINE) {
                Some(records) => serde_json::from_value(records.clone()).map_err(invalid)?,
                None => CacheRecords::new(),
            }
        };
        Ok(Some(Self { records, from }))
    }

    /// What it says of a key.
    #[must_use]
    pub fn record(&self, key: &str) -> Option<&Value> {
        self.records.get(key)
    }

    /// Brings a blob that a record names into the store.
    ///
    /// # Errors
    /// What cannot be read, or is not what its digest says.
    pub fn fetch(&self, store: &Store, blob: &Descriptor) -> Result<(), Error> {
        if store.holds(blob) {
            return Ok(());
        }
        let mut writer = store.blob_writer()?;
        match &self.from {
            From::Directory(layout) => {
                let name = blob_name(&blob.digest);
                let file = layout.file(&name)?;
                // One byte more shows that it is another.
                io::copy(&mut file.take(blob.size.saturating_add(1)), &mut writer)
                    .map_err(|error| layout.error("copy", &name, error))?;
            }
            From::Registry(repository) => repository.blob(blob, &mut writer, &mut |_| {})?,
        }
        writer.commit_as(blob)
    }
}

impl From {
    /// A small blob, compared with its digest.
    fn document(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        if blob.size > LARGEST_DOCUMENT {
            return Err(Error::new(Kind::Attack, "read a cache: a document larger than 64 MiB"));
        }
        let bytes = match self {
            Self::Directory(layout) => {
                let name = blob_name(&blob.digest);
                layout.read((layout.file(&name)?, &name))?
            }
            Self::Registry(repository) => {
                let mut bytes = Vec::new();
                repository.blob(blob, &mut bytes, &mut |_| {})?;
                bytes
            }
        };
        if Digest::of(&bytes) == blob.digest {
            Ok(bytes)
        } else {
            Err(Error::new(Kind::Attack, format!("read a cache: {} has another content", blob.digest)))
        }
    }
}

impl Layout {
    /// It and its index; `None` where there is none.
    fn open(path: &Path) -> Result<Option<(Self, File)>, Error> {
        let is_absent =
            |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
        let root = match root::open_dir(path) {
            Err(error) if is_absent(&error) => return Ok(None),
            opened => opened.map_err(|error| Error::system(format!("open {}", path.display()), error))?,
        };
        let layout = Self { root, path: path.to_owned() };
        match root::open_file(&layout.root, INDEX.as_ref()) {
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(layout.error("read", INDEX.as_ref(), error)),
            Ok(index) => Ok(Some((layout, index))),
        }
    }

    fn file(&self, name: &Path) -> Result<File, Error> {
        root::open_file(&self.root, name).map_err(|error| self.error("read", name, error))
    }

    fn read(&self, (file, name): (File, &Path)) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.error("read", name, error))?;
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            let text = format!("read {}: larger than 64 MiB", self.path.join(name).display());
            return Err(Error::new(Kind::Attack, text));
        }
        Ok(bytes)
    }

    fn error(&self, deed: &str, name: &Path, error: io::Error) -> Error {
        Error::system(format!("{deed} {}", self.path.join(name).display()), error)
    }
}

/// Writes a cache: its records, and every blob of the store that they name.
///
/// # Errors
/// The file system's; the registry's.
pub fn write_cache(
    store: &Store,
    (records, blobs): (&CacheRecords, Vec<Descriptor>),
    place: &CachePlace,
) -> Result<(), Error> {
    let bytes = serde_json::to_vec(records).map_err(invalid)?;
    let config = store.put_blob(RECORDS, &bytes)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.to_owned(),
        config: config.clone(),
        layers: blobs.clone(),
    };
    let bytes = serde_json::to_vec(&manifest).map_err(invalid)?;
    let top = store.put_blob(media::MANIFEST, &bytes)?;
    match place {
        CachePlace::Directory(directory) => {
            for blob in blobs.iter().chain([&config, &top]) {
                copy_out(store, directory, blob)?;
            }
            let index = serde_json::json!({
                "schemaVersion": 2, "mediaType": media::INDEX, "manifests": [top],
            });
            write_file(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            // Last: whoever reads it finds everything else.
            write_file(&directory.join(INDEX), index.to_string().as_bytes())
        }
        CachePlace::Registry(reference) => {
            let repository = Repository::new(
                Settings::from_environment()?.home(reference),
                reference,
                Access::Push,
                &Credentials::from_environment(),
            )?;
            for blob in blobs.iter().chain([&config]) {
                repository.upload((store, blob), None, &|_| {})?;
            }
            repository.put_manifest(reference.tag().unwrap_or("latest"), media::MANIFEST, &bytes)
        }
    }
}

fn copy_out(store: &Store, directory: &Path, blob: &Descriptor) -> Result<(), Error> {
    let path = directory.join(blob_name(&blob.digest));
    let doing = |error| Error::system(format!("write {}", path.display()), error);
    if fs::metadata(&path).is_ok_and(|found| found.len() == blob.size) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(directory)).map_err(doing)?;
    let mut from = store.open_blob(&blob.digest)?;
    draft::replace(&path, |file| io::copy(&mut from, file).map(drop)).map_err(doing)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    draft::replace(path, |file| file.write_all(bytes))
        .map_err(|error| Error::system(format!("write {}", path.display()), error))
}

fn blob_name(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

fn parsed<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(invalid)
}

fn invalid(error: serde_json::Error) -> Error {
    Error::new(Kind::Invalid, format!("read a cache: {error}"))
}
