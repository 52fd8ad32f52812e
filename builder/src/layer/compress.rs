//! Compressors whose output depends on the bytes and the level, not on the number of processors.

use std::io::{self, Write};

use super::Compression;
use super::gzip::Gzip;

/// Compresses into `W`.
pub(crate) enum Encoder<W: Write> {
    Plain(W),
    Gzip(Gzip<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(to: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(to),
            Compression::Gzip(level) => Self::Gzip(Gzip::new(to, level, workers())?),
            Compression::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(to, level)?;
                encoder.include_checksum(true)?;
                // Jobs are cut by size: one worker or many give the same bytes; none at all gives others.
                encoder.multithread(u32::try_from(workers()).unwrap_or(1))?;
                Self::Zstd(encoder)
            }
        })
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(to) => Ok(to),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(buffer),
            Self::Gzip(encoder) => encoder.write(buffer),
            Self::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Each worker holds several megabytes: a few are as fast as the reader that feeds them.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}
