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
    Archive(Compression),
    /// Compressed in a way that cannot be read here; the name of it.
    Foreign(&'static str),
    /// Anything else, also compressed.
    Other,
}

/// Looks at the beginning of `file`, which is left at its beginning.
///
/// # Errors
/// The file system's.
pub fn sniff(file: &mut File) -> io::Result<Content> {
    let mut start = Vec::new();
    file.take(6).read_to_end(&mut start)?;
    file.rewind()?;
    let compression = match start.as_slice() {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Ok(Content::Foreign("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Ok(Content::Foreign("xz")),
        start => Compression::of_magic(start),
    };
    let first = decoder(&mut *file, compression).and_then(|bytes| Archive::new(bytes).next());
    file.rewind()?;
    // What does not begin as a tar does is none; a file system that cannot be read says so again when it is copied.
    Ok(if matches!(first, Ok(Some(_))) { Content::Archive(compression) } else { Content::Other })
}
