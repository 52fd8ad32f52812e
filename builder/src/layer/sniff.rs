//! What a file is, by its content: names say little, and are chosen by strangers.

use std::fs::File;
use std::io::{self, Read, Seek};

use super::Compression;
use super::archive::Archive;
use super::stream::decoder;

/// What is in a file, as far as unpacking goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A tar with at least one member.
    Archive(Packing),
    /// Anything else, also compressed.
    Other,
}

/// How an archive is compressed that somebody made: in more ways than a layer can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As a layer may be.
    Layer(Compression),
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

/// What a decoder of xz may take: `xz -9` needs 65 MiB, and the archive says how much.
const XZ_MEMORY: u64 = 128 << 20;

/// The tar in a packed file, as it is read.
///
/// # Errors
/// A decompressor that cannot be made.
pub fn unpacked<'a>(file: impl Read + Send + 'a, packing: Packing) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match packing {
        Packing::Layer(compression) => decoder(file, compression)?,
        Packing::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Packing::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
    })
}

/// Looks at the beginning of `file`, which is left at its beginning.
///
/// # Errors
/// The file system's.
pub fn sniff(file: &mut File) -> io::Result<Content> {
    let mut start = Vec::new();
    file.take(6).read_to_end(&mut start)?;
    file.rewind()?;
    let packing = match start.as_slice() {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Packing::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Packing::Xz,
        start => Packing::Layer(Compression::of_magic(start)),
    };
    let first = unpacked(&mut *file, packing).and_then(|bytes| Archive::new(bytes).next());
    file.rewind()?;
    // What does not begin as a tar does is none; a file system that cannot be read says so again when it is copied.
    Ok(if matches!(first, Ok(Some(_))) { Content::Archive(packing) } else { Content::Other })
}
