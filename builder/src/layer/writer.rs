//! Writing a layer: tar, hash, compress, hash again and store, in one pass and in the background.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::compress::Encoder;
use super::entry::{Entry, EntryKind};
use super::{Compression, whiteout};
use crate::error::{Error, Kind};
use crate::store::{BlobWriter, Descriptor, Digest, Hasher, Store};

const BLOCK: usize = 512;
const CHUNK: usize = 1 << 20;
/// Chunks in flight: the walk of the tree runs ahead of the compression by this much.
const AHEAD: usize = 4;

/// A stored layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// Digest of the tar in it.
    pub diff_id: Digest,
}

/// A layer in the making; dropped without `finish` it leaves nothing.
pub struct Writer {
    /// Of the size of a chunk, however much of it is filled.
    chunk: Vec<u8>,
    filled: usize,
    channel: Option<SyncSender<Vec<u8>>>,
    compressor: Option<JoinHandle<io::Result<(BlobWriter, Digest)>>>,
    compression: Compression,
}

impl Writer {
    /// Begins a layer in `store`.
    pub fn new(store: &Store, compression: Compression) -> Result<Self, Error> {
        let blob = store.blob_writer()?;
        let (sender, channel) = sync_channel(AHEAD);
        let compressor = std::thread::Builder::new()
            .name("compress".to_owned())
            .spawn(move || compress(blob, compression, &channel))
            .map_err(|error| Error::system("start a thread", error))?;
        Ok(Self {
            chunk: vec![0; CHUNK],
            filled: 0,
            channel: Some(sender),
            compressor: Some(compressor),
            compression,
        })
    }

    /// Adds an entry; `content` gives the bytes of a file, and exactly as many as its kind says.
    ///
    /// # Errors
    /// A name that says something else in a layer; what cannot be read or stored.
    pub fn add(&mut self, entry: &Entry<'_>, content: &mut dyn Read) -> Result<(), Error> {
        let doing = || format!("add {} to a layer", entry.path.display());
        if entry.path.file_name().is_some_and(|name| name.as_bytes().starts_with(whiteout::PREFIX)) {
            let text = format!("{}: names that begin with .wh. are deletions in an image", doing());
            return Err(Error::new(Kind::Invalid, text));
        }
        self.try_add(entry, content).map_err(|error| Error::system(doing(), error))
    }

    /// Adds a mark that deletes the lower file at `path`. The mark has no attributes of its own: `mtime` is the
    /// image's.
    pub fn add_whiteout(&mut self, path: &Path, mtime: i64) -> Result<(), Error> {
        let mut name = OsString::from_vec(whiteout::PREFIX.to_vec());
        name.push(path.file_name().unwrap_or_default());
        self.add_mark(&path.with_file_name(name), mtime)
    }

    /// Adds a mark that hides everything lower in `directory`.
    pub fn add_opaque(&mut self, directory: &Path, mtime: i64) -> Result<(), Error> {
        self.add_mark(&directory.join(OsStr::from_bytes(whiteout::OPAQUE)), mtime)
    }

    /// Ends the archive and stores the blob.
    pub fn finish(mut self) -> Result<Layer, Error> {
        let doing = |error| Error::system("store a layer", error);
        // The end of a tar: two empty blocks.
        self.put(&[0; 2 * BLOCK]).and_then(|()| self.flush()).map_err(doing)?;
        self.channel = None;
        let (blob, diff_id) = self.join().map_err(doing)?;
        Ok(Layer { descriptor: blob.commit(self.compression.media_type())?, diff_id })
    }

    fn add_mark(&mut self, path: &Path, mtime: i64) -> Result<(), Error> {
        let mark = Entry { path, kind: EntryKind::File(0), mode: 0, uid: 0, gid: 0, mtime, xattrs: &[] };
        self.try_add(&mark, &mut io::empty())
            .map_err(|error| Error::system(format!("add {} to a layer", path.display()), error))
    }

    fn try_add(&mut self, entry: &Entry<'_>, content: &mut dyn Read) -> io::Result<()> {
        self.put(&entry.header()?)?;
        let size = entry.size();
        let (mut content, mut left) = (content.take(size), size);
        while left > 0 {
            let count = content.read(self.chunk.get_mut(self.filled..).unwrap_or_default())?;
            if count == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file shrank while it was read",
                ));
            }
            left -= count as u64;
            self.fill(count)?;
        }
        let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
        self.put([0; BLOCK].get(..padding).unwrap_or_default())
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = (CHUNK - self.filled).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            if let Some(place) = self.chunk.get_mut(self.filled..self.filled + room) {
                place.copy_from_slice(now);
            }
            bytes = later;
            self.fill(room)?;
        }
        Ok(())
    }

    /// So many bytes more are in the chunk; a full one goes on its way.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        self.filled += count;
        if self.filled == CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut chunk = std::mem::replace(&mut self.chunk, vec![0; CHUNK]);
        chunk.truncate(std::mem::take(&mut self.filled));
        let sent = self.channel.as_ref().is_some_and(|channel| channel.send(chunk).is_ok());
        if sent {
            return Ok(());
        }
        // The compressor is gone, and its result tells why.
        self.channel = None;
        self.join().and_then(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn join(&mut self) -> io::Result<(BlobWriter, Digest)> {
        let compressor = self.compressor.take().ok_or(io::ErrorKind::BrokenPipe)?;
        compressor.join().map_err(|_| io::Error::other("the compressing thread ended early"))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.channel = None;
        if let Some(compressor) = self.compressor.take() {
            // It ends now that no more comes, and its unfinished blob goes with it.
            drop(compressor.join());
        }
    }
}

fn compress(
    blob: BlobWriter,
    compression: Compression,
    channel: &Receiver<Vec<u8>>,
) -> io::Result<(BlobWriter, Digest)> {
    let mut hasher = Hasher::new();
    let mut encoder = Encoder::new(blob, compression)?;
    for chunk in channel {
        hasher.update(&chunk);
        encoder.write_all(&chunk)?;
    }
    Ok((encoder.finish()?, hasher.finish()))
}
