//! Compressors whose output depends on the bytes and the level, not on the number of processors.

use std::io::{self, Write};

use flate2::{Compression as Level, GzBuilder, write::GzEncoder};

use super::Compression;

/// Compresses into `W`.
pub(crate) enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(to: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(to),
            // Neither a time nor a name, and "unknown" for the system: nothing of this machine.
            Compression::Gzip(level) => {
                Self::Gzip(GzBuilder::new().mtime(0).operating_system(255).write(to, Level::new(level)))
            }
            Compression::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(to, level)?;
                encoder.include_checksum(true)?;
                // Jobs are cut by size: one worker or many give the same bytes; none at all gives others.
                encoder.multithread(workers())?;
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
fn workers() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores.min(4)).unwrap_or(1)
}
