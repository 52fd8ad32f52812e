//! A compressed blob as a tar stream: decompression and hashing run ahead on a thread of their own.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::Compression;
use crate::store::{Digest, Hasher};

const CHUNK: usize = 256 << 10;
/// Chunks in flight: enough to keep both sides busy, 2 MiB in all.
const AHEAD: usize = 8;

/// The reading side.
pub(super) struct Chunks {
    channel: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

/// Runs `consume` on the uncompressed bytes of `blob`; returns its result and the digest of all of them.
pub(super) fn decompress<T>(
    blob: impl Read + Send,
    compression: Compression,
    consume: impl FnOnce(Chunks) -> io::Result<T>,
) -> io::Result<(T, Digest)> {
    std::thread::scope(|scope| {
        let (sender, channel) = sync_channel(AHEAD);
        let producer = scope.spawn(move || produce(blob, compression, &sender));
        let consumed = consume(Chunks { channel, chunk: Vec::new(), at: 0 });
        let digest = producer.join().map_err(|_| io::Error::other("the decompressing thread ended early"))?;
        Ok((consumed?, digest))
    })
}

/// Opens the decompressor of a layer blob.
pub(crate) fn decoder<'a>(
    blob: impl Read + Send + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(blob),
        // Several members in a row are one stream, as gzip itself reads them.
        Compression::Gzip(_) => Box::new(flate2::read::MultiGzDecoder::new(blob)),
        Compression::Zstd(_) => Box::new(zstd::Decoder::new(blob)?),
    })
}

fn produce(
    blob: impl Read + Send,
    compression: Compression,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) -> Digest {
    let mut hasher = Hasher::new();
    let run = || -> io::Result<()> {
        let mut decoder = decoder(blob, compression)?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            (&mut decoder).take(CHUNK as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                return Ok(());
            }
            hasher.update(&chunk);
            if sender.send(Ok(chunk)).is_err() {
                return Ok(()); // the consumer gave up, and tells why
            }
        }
    };
    if let Err(error) = run() {
        drop(sender.send(Err(error))); // a consumer that is gone has an error of its own
    }
    hasher.finish()
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.channel.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let rest = self.chunk.get(self.at..).ok_or(ErrorKind::UnexpectedEof)?;
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
