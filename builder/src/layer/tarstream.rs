//! A tar to a stream that is no layer: what `save` and the outputs of a build write.

use std::io::{self, Read, Write};

use super::entry::{Entry, EntryKind};

/// Of the size of a blob, many small steps would cost more than the copy itself.
const BUFFER: usize = 256 << 10;

/// The archive; `finish` ends it.
pub struct TarStream<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> TarStream<'a> {
    /// Nothing is written yet.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, buffer: vec![0; BUFFER] }
    }

    /// Adds an entry; `content` gives exactly as many bytes as its kind says.
    ///
    /// # Errors
    /// The stream's; the content's, also when it is too short.
    pub fn add(&mut self, entry: &Entry<'_>, content: &mut dyn Read) -> io::Result<()> {
        let size = if let EntryKind::File(size) = entry.kind { size } else { 0 };
        self.out.write_all(&entry.header()?)?;
        let (mut content, mut left) = (content.take(size), size);
        while left > 0 {
            let count = content.read(&mut self.buffer)?;
            let bytes = self.buffer.get(..count).filter(|bytes| !bytes.is_empty());
            self.out.write_all(bytes.ok_or(io::ErrorKind::UnexpectedEof)?)?;
            left -= count as u64;
        }
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.out.write_all([0; 512].get(..padding).unwrap_or_default())
    }

    /// The end of a tar: two empty blocks.
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(self) -> io::Result<()> {
        self.out.write_all(&[0; 1024])?;
        self.out.flush()
    }
}
