//! Hashes of users' files, kept from one build to the next: lists whose content belongs to whoever wrote them.
//!
//! A list that was lost or cut short costs time and nothing else, so none is synced; each ends with its own hash.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::time::SystemTime;

use super::temporary::remove_tree;
use super::{Digest, Key, Store};
use crate::error::Error;

/// Length of the hash at the end, in hexadecimal digits.
const SEAL: usize = 64;

impl Store {
    /// The list of this name, as far as there is a whole one. Marks it as used now.
    pub fn hashes(&self, name: &Key) -> Option<Vec<u8>> {
        let path = self.path("hashes").join(name.as_str());
        let mut bytes = fs::read(&path).ok()?;
        let seal = bytes.split_off(bytes.len().checked_sub(SEAL)?);
        if Digest::of(&bytes).hex().as_bytes() != seal {
            return None;
        }
        if let Ok(file) = File::open(&path) {
            // Only the order of eviction depends on it.
            drop(file.set_times(FileTimes::new().set_modified(SystemTime::now())));
        }
        Some(bytes)
    }

    /// Keeps a list in place of an older one.
    ///
    /// # Errors
    /// The file system's.
    pub fn put_hashes(&self, name: &Key, bytes: &[u8]) -> Result<(), Error> {
        let home = self.path("hashes");
        let (path, mut file) = self.temporary_file()?;
        fs::create_dir_all(&home)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.write_all(Digest::of(bytes).hex().as_bytes()))
            .and_then(|()| fs::rename(&path, home.join(name.as_str())))
            .map_err(|error| {
                drop(remove_tree(&path)); // nothing more can be done about it: the sweep will
                Error::system(format!("write {}", home.join(name.as_str()).display()), error)
            })
    }
}
