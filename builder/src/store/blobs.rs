//! Blobs: written once, hashed on the way, named by what they are.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Descriptor, Digest, Hasher, Store};
use crate::error::{Error, Kind};

/// Index, manifest and config are read into memory; larger ones are refused.
const LARGEST_DOCUMENT: u64 = 4 << 20;

impl Store {
    /// Where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob is here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Whether the blob is here with the size that the descriptor says.
    pub fn holds(&self, descriptor: &Descriptor) -> bool {
        fs::metadata(self.blob_path(&descriptor.digest)).is_ok_and(|found| found.len() == descriptor.size)
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        File::open(self.blob_path(digest))
            .map_err(|error| Error::system(format!("open blob {digest}"), error))
    }

    /// A small blob (index, manifest, config) as bytes, verified against its digest.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(8 << 10); // most are smaller: one read
        self.open_blob(digest)?
            .take(LARGEST_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::system(format!("read blob {digest}"), error))?;
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            return Err(Error::new(Kind::Invalid, format!("read blob {digest}: larger than 4 MiB")));
        }
        if Digest::of(&bytes) != *digest {
            let text = format!("read blob {digest}: its content has another digest");
            return Err(Error::new(Kind::Invalid, text)
                .hint("the store is damaged; remove the image and pull it again"));
        }
        Ok(bytes)
    }

    /// Stores a small blob. What a build that was cached made again is there already; one that a crash damaged is written anew.
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let digest = Digest::of(bytes);
        if fs::read(self.blob_path(&digest)).is_ok_and(|found| found == bytes) {
            return Ok(Descriptor::new(media_type, digest, bytes.len() as u64));
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(|error| Error::system("write a blob", error))?;
        writer.commit(media_type)
    }

    /// A blob in the making; dropped without `commit` it leaves nothing.
    pub fn blob_writer(&self) -> Result<BlobWriter, Error> {
        let (path, file) = self.temporary_file()?;
        Ok(BlobWriter { store: self.clone(), path: Some(path), file, hasher: Hasher::new() })
    }
}

/// Takes bytes, hashes them, and publishes them under their digest.
pub struct BlobWriter {
    store: Store,
    path: Option<PathBuf>,
    file: File,
    hasher: Hasher,
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.hasher.size()
    }

    /// Publishes the blob.
    pub fn commit(self, media_type: &str) -> Result<Descriptor, Error> {
        self.publish(media_type, None)
    }

    /// Publishes the blob if it is the one that `expected` names; otherwise an error, and nothing is kept.
    pub fn commit_as(self, expected: &Descriptor) -> Result<(), Error> {
        self.publish(&expected.media_type, Some(expected)).map(drop)
    }

    fn publish(mut self, media_type: &str, expected: Option<&Descriptor>) -> Result<Descriptor, Error> {
        let hasher = std::mem::take(&mut self.hasher);
        let size = hasher.size();
        let digest = hasher.finish();
        if let Some(expected) = expected {
            verify(expected, &digest, size)?;
        }
        let target = self.store.blob_path(&digest);
        let doing = || format!("store blob {digest}");
        self.file
            .set_permissions(Permissions::from_mode(0o644))
            .map_err(|error| Error::system(doing(), error))?;
        if let Some(path) = self.path.take() {
            // The same content may be there already: replacing it by itself does no harm to its readers.
            fs::rename(&path, &target).map_err(|error| Error::system(doing(), error))?;
        }
        Ok(Descriptor::new(media_type, digest, size))
    }
}

fn verify(expected: &Descriptor, digest: &Digest, size: u64) -> Result<(), Error> {
    if size != expected.size {
        let text = format!("verify blob {}: expected {} bytes, got {size}", expected.digest, expected.size);
        return Err(Error::new(Kind::Attack, text));
    }
    if *digest != expected.digest {
        return Err(Error::new(
            Kind::Attack,
            format!("verify blob {}: its content is {digest}", expected.digest),
        ));
    }
    Ok(())
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.write(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            drop(fs::remove_file(path)); // otherwise the next sweep does it
        }
    }
}
