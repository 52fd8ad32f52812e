//! Reading a tar, one member at a time, in bounded memory: ustar, GNU long names and sparse files, PAX.
//!
//! The tar crate knows the header's layout. Its own reader is not used: it reads extension headers of any size into
//! memory and splits PAX records at newlines, which binary attributes contain.

use std::io::{self, ErrorKind, Read};

use tar::{EntryType, Header};

use super::number;

const BLOCK: u64 = 512;
/// Names and attributes of one member, in all of its headers together; a real one stays far below.
const LARGEST_EXTENSION: u64 = 1 << 20;
/// Segments of one sparse file.
const MOST_SEGMENTS: usize = 1 << 16;
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file of this size, with the places where it has data.
    File {
        size: u64,
        segments: Vec<(u64, u64)>,
    },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// One member, as the archive describes it. Nothing in it has been judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: i128,
    pub(super) gid: i128,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What extension headers say about the member after them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<i128>,
    gid: Option<i128>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar being read.
pub(crate) struct Archive<R> {
    reader: R,
    /// Content of the current member not read yet, and the padding after it.
    content: u64,
    padding: u64,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, content: 0, padding: 0 }
    }

    /// The next member, past whatever is unread of the one before.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extension = Extension::default();
        let (mut extended, mut room) = (false, LARGEST_EXTENSION);
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return if extended {
                    Err(invalid("the archive ends after an extension header"))
                } else {
                    Ok(None)
                };
            };
            let size = size_of(&header)?;
            match header.entry_type() {
                EntryType::GNULongName => extension.path = Some(until_nul(self.extension(size, &mut room)?)),
                EntryType::GNULongLink => extension.link = Some(until_nul(self.extension(size, &mut room)?)),
                EntryType::XHeader => extension.read(&self.extension(size, &mut room)?)?,
                EntryType::XGlobalHeader => {
                    // Comments of git archives; nothing in a layer depends on them.
                    let mut comments = LARGEST_EXTENSION;
                    self.extension(size, &mut comments)?;
                    continue;
                }
                _ => return self.member(&header, extension).map(Some),
            }
            extended = true;
        }
    }

    /// The rest of the archive, which the digest covers too.
    pub(super) fn drain(mut self) -> io::Result<()> {
        io::copy(&mut self.reader, &mut io::sink()).map(drop)
    }

    /// Reads content of the current member.
    pub(crate) fn read_content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            // A decompressor may take a read of nothing for one that makes no progress.
            return Ok(0);
        }
        let count = self.reader.read(buffer.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(truncated());
        }
        self.content -= count as u64;
        Ok(count)
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest)? {
                0 if filled == 0 => return Ok(None), // no end marker: Go's reader takes it, and so do we
                0 => return Err(truncated()),
                count => filled += count,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        verify_checksum(&header)?;
        Ok(Some(header))
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.content + self.padding;
        (self.content, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.reader).take(rest), &mut io::sink())?;
        if skipped == rest { Ok(()) } else { Err(truncated()) }
    }

    fn begin_content(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    /// `room` is what may still come: a member may have any number of such headers, and compressed they cost next to nothing.
    fn extension(&mut self, size: u64, room: &mut u64) -> io::Result<Vec<u8>> {
        *room = room
            .checked_sub(size)
            .ok_or_else(|| invalid("the extension headers of a member are larger than 1 MiB"))?;
        self.begin_content(size);
        let mut bytes = Vec::new();
        (&mut self.reader).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(truncated());
        }
        self.content = 0;
        Ok(bytes)
    }

    fn member(&mut self, header: &Header, extension: Extension) -> io::Result<Member> {
        let old = header.as_old();
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link =
            || extension.link.clone().or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let number = |bytes, what| number::field(bytes).ok_or_else(|| invalid(what));
        let target = || link().ok_or_else(|| invalid("a link without a target"));
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let size = extension.size.map_or_else(|| size_of(header), Ok)?;
                self.begin_content(size);
                Kind::File { size, segments: vec![(0, size)] }
            }
            EntryType::GNUSparse => self.sparse(header)?,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(target()?),
            EntryType::Link => Kind::HardLink(target()?),
            EntryType::Char => device(header, Kind::Character)?,
            EntryType::Block => device(header, Kind::Block)?,
            EntryType::Fifo => Kind::Fifo,
            _ => return Err(invalid("a member of a type that is not known")),
        };
        Ok(Member {
            path,
            kind,
            // Only the bits that chmod takes; the rest is the type, which was read already.
            mode: u32::try_from(number(&old.mode, "a mode is not a number")? & 0o7777).unwrap_or(0),
            uid: extension.uid.map_or_else(|| number(&old.uid, "a uid is not a number"), Ok)?,
            gid: extension.gid.map_or_else(|| number(&old.gid, "a gid is not a number"), Ok)?,
            mtime: match extension.mtime {
                Some(time) => time,
                None => (clamp(number(&old.mtime, "a time is not a number")?), 0),
            },
            xattrs: extension.xattrs,
        })
    }

    /// GNU's old form: a list of segments in the header and in blocks after it.
    fn sparse(&mut self, header: &Header) -> io::Result<Kind> {
        let gnu = header.as_gnu().ok_or_else(|| invalid("a sparse file without a GNU header"))?;
        let stored = size_of(header)?;
        let mut segments = Vec::new();
        for segment in &gnu.sparse {
            push_segment(&mut segments, &segment.offset, &segment.numbytes)?;
        }
        let mut more = gnu.isextended[0] == 1;
        while more {
            let mut block = [0_u8; 512];
            self.reader.read_exact(&mut block)?;
            for segment in block.as_chunks::<24>().0 {
                let (offset, length) = segment.split_at(12);
                push_segment(&mut segments, offset, length)?;
            }
            more = block.get(504) == Some(&1);
        }
        let size = positive(number::field(&gnu.realsize))?;
        let data: u64 = segments.iter().map(|(_, length)| length).sum();
        if data != stored || segments.last().is_some_and(|(offset, length)| offset + length > size) {
            return Err(invalid("a sparse file whose segments do not fit its size"));
        }
        self.begin_content(stored);
        Ok(Kind::File { size, segments })
    }
}

impl Extension {
    /// `LENGTH KEY=VALUE\n`, where the length counts the whole record: the value may hold any byte.
    fn read(&mut self, mut records: &[u8]) -> io::Result<()> {
        let malformed = || invalid("a malformed PAX record");
        while !records.is_empty() {
            let space = records.iter().position(|b| *b == b' ').ok_or_else(malformed)?;
            let digits = records
                .get(..space)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .ok_or_else(malformed)?;
            let length: usize = digits.parse().map_err(|_| malformed())?;
            let record = records
                .get(space + 1..length)
                .and_then(|record| record.strip_suffix(b"\n"))
                .ok_or_else(malformed)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(malformed)?;
            let (key, value) = record.split_at(equals);
            self.set(key, value.get(1..).unwrap_or_default())?;
            records = records.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let text = || std::str::from_utf8(value).map_err(|_| invalid("a PAX number is not a number"));
        let number = || text()?.parse::<i128>().map_err(|_| invalid("a PAX number is not a number"));
        match key {
            b"path" if !value.is_empty() => self.path = Some(value.to_vec()),
            b"linkpath" if !value.is_empty() => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(positive(Some(number()?))?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => {
                self.mtime = Some(number::time(value).ok_or_else(|| invalid("a PAX time is not a number"))?);
            }
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(io::Error::new(ErrorKind::Unsupported, "a sparse file in PAX form"));
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn size_of(header: &Header) -> io::Result<u64> {
    positive(number::field(&header.as_old().size))
}

fn positive(number: Option<i128>) -> io::Result<u64> {
    // 2^62: sums of a few of them still fit.
    let small = |number: &i128| (0..1 << 62).contains(number);
    let number =
        number.filter(small).ok_or_else(|| invalid("a size that is negative, huge, or not a number"))?;
    u64::try_from(number).map_err(|_| invalid("a size that is negative, huge, or not a number"))
}

fn push_segment(segments: &mut Vec<(u64, u64)>, offset: &[u8], length: &[u8]) -> io::Result<()> {
    if offset.first().is_none_or(|first| *first == 0) {
        return Ok(());
    }
    let (offset, length) = (positive(number::field(offset))?, positive(number::field(length))?);
    let end = segments.last().map_or(0, |(offset, length)| offset + length);
    if offset < end || segments.len() >= MOST_SEGMENTS {
        return Err(invalid("a sparse file whose segments overlap or are too many"));
    }
    segments.push((offset, length));
    Ok(())
}

fn device(header: &Header, kind: fn(u32, u32) -> Kind) -> io::Result<Kind> {
    let number = |field: io::Result<Option<u32>>| match field {
        Ok(Some(number)) => Ok(number),
        _ => Err(invalid("a device without a number")),
    };
    Ok(kind(number(header.device_major())?, number(header.device_minor())?))
}

fn verify_checksum(header: &Header) -> io::Result<()> {
    let stored = number::field(&header.as_old().cksum);
    let bytes = header.as_bytes().iter().enumerate();
    // The checksum's own eight bytes count as spaces.
    let sum: i128 =
        bytes.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { i128::from(*byte) }).sum();
    if stored == Some(sum) { Ok(()) } else { Err(invalid("a header with a wrong checksum")) }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn clamp(seconds: i128) -> i64 {
    i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX })
}

fn truncated() -> io::Error {
    invalid("the archive is cut short")
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
