//! A file from an address, kept in the store for as long as the server says that it is the same.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Sha384, Sha512};

use super::tree::Tree;
use crate::error::{Error, Kind};
use crate::registry;
use crate::store::{Digest, Key, Record, Store};
use crate::sys::reflink;

const MEDIA_TYPE: &str = "application/octet-stream";

/// What the store remembers of an address.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    version: Option<String>,
}

/// Brings what is at `url` into the store; `checksum` (`algorithm:hex`) is what it must have. One whose sha256 is asked for and in
/// the store already is not fetched.
///
/// # Errors
/// The way there; another content than asked for.
pub fn download(store: &Store, url: &str, checksum: Option<&str>) -> Result<Digest, Error> {
    let key = key(url);
    let known = store.record(&key)?;
    let known = known.and_then(|record| {
        let blob = record.blobs.first()?.clone();
        Some((blob, serde_json::from_value::<Known>(record.body).ok()?))
    });
    let digest = match known {
        Some((digest, _)) if checksum == Some(digest.as_str()) => digest,
        known => fetch(store, url, &key, known)?,
    };
    if let Some(checksum) = checksum {
        verify(store, url, checksum, &digest)?;
    }
    Ok(digest)
}

/// The file alone in a tree, by this name in the directory `place`, which is made.
///
/// # Errors
/// The file system's.
pub fn lay_out(store: &Store, (name, digest): (&str, &Digest), place: &Path) -> Result<Tree, Error> {
    let doing = |error| Error::system(format!("lay out {name}"), error);
    fs::create_dir(place).map_err(doing)?;
    let mut options = File::options();
    // As every builder does: only its owner may read it, unless --chmod says otherwise.
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(place.join(name)).map_err(doing)?;
    let blob = store.open_blob(digest)?;
    blob.metadata().and_then(|found| reflink::copy(&blob, &file, found.len())).map_err(doing)?;
    Tree::directory(place, None)
}

/// Whether the store has had something from the address.
#[must_use]
pub fn is_known(store: &Store, url: &str) -> bool {
    store.record(&key(url)).is_ok_and(|record| record.is_some())
}

/// The 2: records of old have a name that the server gave.
fn key(url: &str) -> Key {
    Key::from(&Digest::of(format!("download 2\0{url}").as_bytes()))
}

fn fetch(store: &Store, url: &str, key: &Key, known: Option<(Digest, Known)>) -> Result<Digest, Error> {
    let version = known.as_ref().and_then(|(_, known)| known.version.as_deref());
    let mut blob = store.blob_writer()?;
    let Some(downloaded) = registry::download(url, version, &mut blob)? else {
        // The same as last time: there was a last time, or no version would have been named.
        return known
            .map(|(digest, _)| digest)
            .ok_or_else(|| Error::new(Kind::System, format!("download {url}: the server sent nothing")));
    };
    let blob = blob.commit(MEDIA_TYPE)?;
    let known = Known { version: downloaded.version };
    let body = serde_json::to_value(&known)
        .map_err(|error| Error::system(format!("remember {url}"), io::Error::from(error)))?;
    store.put_record(key, &Record { blobs: vec![blob.digest.clone()], body, ..Record::default() })?;
    Ok(blob.digest)
}

fn verify(store: &Store, url: &str, checksum: &str, digest: &Digest) -> Result<(), Error> {
    let doing = |error| Error::system(format!("verify {url}"), error);
    let found = match checksum.split_once(':').map(|(algorithm, _)| algorithm) {
        Some("sha384") => format!("sha384:{}", hex::<Sha384>(store.open_blob(digest)?).map_err(doing)?),
        Some("sha512") => format!("sha512:{}", hex::<Sha512>(store.open_blob(digest)?).map_err(doing)?),
        Some("sha256") => digest.to_string(),
        _ => {
            let text = format!("verify {url}: the checksum {checksum} is no sha256, sha384 or sha512");
            return Err(Error::new(Kind::Invalid, text));
        }
    };
    if found.eq_ignore_ascii_case(checksum) {
        return Ok(());
    }
    Err(Error::new(Kind::Attack, format!("verify {url}: its checksum is {found}, not {checksum}")))
}

fn hex<D: sha2::Digest>(mut file: File) -> io::Result<String> {
    let mut hasher = D::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            let digits = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(digits);
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}
