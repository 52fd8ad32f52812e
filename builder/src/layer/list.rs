//! What is in a layer, entry by entry.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::archive::Archive;
use crate::store::{Digest, Hasher};

/// The digest of each entry, its attributes and its content, by path.
///
/// # Errors
/// An archive that cannot be read.
pub fn entries(tar: impl Read) -> io::Result<BTreeMap<Vec<u8>, Digest>> {
    let mut archive = Archive::new(tar);
    let mut found = BTreeMap::new();
    let mut buffer = vec![0; 128 << 10];
    while let Some(member) = archive.next()? {
        let mut hasher = Hasher::new();
        // Everything of a header that counts, names and lengths included.
        hasher.update(format!("{member:?}").as_bytes());
        loop {
            let count = archive.read_content(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
        found.insert(member.path, hasher.finish());
    }
    Ok(found)
}

/// The path of each entry, without a slash at its ends.
///
/// # Errors
/// An archive that cannot be read.
pub fn paths(tar: impl Read) -> io::Result<Vec<Vec<u8>>> {
    let mut archive = Archive::new(tar);
    let mut found = Vec::new();
    while let Some(member) = archive.next()? {
        let path = member.path.strip_prefix(b"./").unwrap_or(&member.path);
        found.push(path.strip_suffix(b"/").unwrap_or(path).to_vec());
    }
    Ok(found)
}
