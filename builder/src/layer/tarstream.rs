//! A tar to a stream or a file that is no layer: what `save` and the outputs of a build write.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use super::entry::{Entry, EntryKind, filler};
use crate::sys::reflink;

/// Of the size of a blob, many small steps would cost more than the copy itself.
const BUFFER: usize = 128 << 10;
/// The blocks of the file systems that share blocks between files.
const SHARED: u64 = 4096;
/// Files from this size on begin at such a block: nobody minds the few bytes before them.
const LARGE: u64 = 1 << 20;

/// Where a tar goes.
pub enum Sink<'a> {
    /// Anywhere.
    Stream(&'a mut dyn Write),
    /// Into a file, empty until now, which the kernel fills from others.
    File(&'a mut BufWriter<File>),
}

/// The archive; `finish` ends it. Its bytes are the same wherever it goes.
pub struct TarStream<'a> {
    out: Sink<'a>,
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> TarStream<'a> {
    /// Nothing is written yet.
    pub fn new(out: Sink<'a>) -> Self {
        Self { out, at: 0, buffer: Vec::new() }
    }

    /// Adds an entry; `content` gives exactly as many bytes as its kind says.
    ///
    /// # Errors
    /// The stream's; the content's, also when it is too short.
    pub fn add(&mut self, entry: &Entry<'_>, content: &mut dyn Read) -> io::Result<()> {
        let size = entry.size();
        self.put(&entry.header()?)?;
        self.buffer.resize(BUFFER, 0);
        let (mut content, mut left) = (content.take(size), size);
        while left > 0 {
            let count = content.read(&mut self.buffer)?;
            let bytes = self.buffer.get(..count).filter(|bytes| !bytes.is_empty());
            self.out.write_all(bytes.ok_or(io::ErrorKind::UnexpectedEof)?)?;
            left -= count as u64;
        }
        self.end_of(size)
    }

    /// The same with all of a file as content. What is large begins at a block, so that it may share the other's blocks on disk where
    /// the file system can; elsewhere the kernel copies it.
    ///
    /// # Errors
    /// The stream's; the file's.
    pub fn add_file(&mut self, entry: &Entry<'_>, file: &File) -> io::Result<()> {
        let EntryKind::File(size) = entry.kind else { return Err(io::ErrorKind::InvalidInput.into()) };
        let header = entry.header()?;
        if size >= LARGE {
            self.put(&filler(self.at + header.len() as u64, SHARED)?)?;
        }
        let Sink::File(out) = &mut self.out else { return self.add(entry, &mut &*file) };
        out.write_all(&header)?;
        out.flush()?;
        reflink::append(file, out.get_ref(), size)?;
        self.at += header.len() as u64;
        self.end_of(size)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// After content of this size.
    fn end_of(&mut self, size: u64) -> io::Result<()> {
        self.at += size;
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.put([0; 512].get(..padding).unwrap_or_default())
    }

    /// The end of a tar: two empty blocks.
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(mut self) -> io::Result<()> {
        self.put(&[0; 1024])?;
        self.out.flush()
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(out) => out.flush(),
            Self::File(out) => out.flush(),
        }
    }
}
