//! One entry of a layer that is written, and its tar header: ustar, with PAX records only for what ustar cannot hold.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BLOCK: usize = 512;
/// The widest numbers that seven and eleven octal digits hold.
const LARGEST_ID: u32 = 0o777_7777;
const LARGEST_SIZE: u64 = 0o777_7777_7777;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind<'a> {
    /// A regular file of this many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(&'a Path),
    /// Another name for an earlier entry of the same layer.
    HardLink(&'a Path),
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// An entry as it goes into the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Relative to the root, with neither `.` nor `..` in it.
    pub path: &'a Path,
    /// What it is.
    pub kind: EntryKind<'a>,
    /// Permission and set-id bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970; earlier ones are written as 0.
    pub mtime: i64,
    /// Extended attributes by name, sorted.
    pub xattrs: &'a [(OsString, Vec<u8>)],
}

impl Entry<'_> {
    /// The blocks that stand before the entry's content.
    pub(crate) fn header(&self) -> io::Result<Vec<u8>> {
        let mut name = self.path.as_os_str().as_bytes().to_vec();
        if self.kind == EntryKind::Directory {
            name.push(b'/');
        }
        let records = self.records(&name);
        let mut blocks = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            let size = records.len() as u64;
            let extension = Ustar { name: b"PaxHeaders.0", kind: b'x', size, ..Ustar::default() };
            blocks.extend_from_slice(&extension.block()?);
            blocks.extend_from_slice(&records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        blocks.extend_from_slice(&self.ustar(&name).block()?);
        Ok(blocks)
    }

    /// Bytes of content that follow.
    pub(super) fn size(&self) -> u64 {
        if let EntryKind::File(size) = self.kind { size } else { 0 }
    }

    fn link(&self) -> &[u8] {
        match self.kind {
            EntryKind::Symlink(target) | EntryKind::HardLink(target) => target.as_os_str().as_bytes(),
            _ => b"",
        }
    }

    fn ustar<'b>(&'b self, name: &'b [u8]) -> Ustar<'b> {
        let (kind, device) = match self.kind {
            EntryKind::File(_) => (b'0', (0, 0)),
            EntryKind::HardLink(_) => (b'1', (0, 0)),
            EntryKind::Symlink(_) => (b'2', (0, 0)),
            EntryKind::Character(major, minor) => (b'3', (major, minor)),
            EntryKind::Block(major, minor) => (b'4', (major, minor)),
            EntryKind::Directory => (b'5', (0, 0)),
            EntryKind::Fifo => (b'6', (0, 0)),
        };
        Ustar {
            name,
            kind,
            link: self.link(),
            mode: self.mode & 0o7777,
            // What does not fit stands in a record; readers that know none get the lowest id that harms least.
            uid: if self.uid > LARGEST_ID { 0 } else { self.uid },
            gid: if self.gid > LARGEST_ID { 0 } else { self.gid },
            size: if self.size() > LARGEST_SIZE { 0 } else { self.size() },
            mtime: self.mtime.clamp(0, i64::try_from(LARGEST_SIZE).unwrap_or(i64::MAX)).unsigned_abs(),
            device,
        }
    }

    /// PAX records, in the order of their keys.
    fn records(&self, name: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        for (key, value) in self.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", key.as_bytes()].concat(), value);
        }
        if self.gid > LARGEST_ID {
            record(&mut records, b"gid", self.gid.to_string().as_bytes());
        }
        if needs_record(self.link()) {
            record(&mut records, b"linkpath", self.link());
        }
        if needs_record(name) {
            record(&mut records, b"path", name);
        }
        if self.size() > LARGEST_SIZE {
            record(&mut records, b"size", self.size().to_string().as_bytes());
        }
        if self.uid > LARGEST_ID {
            record(&mut records, b"uid", self.uid.to_string().as_bytes());
        }
        records
    }
}

/// Blocks that say nothing, so that what would begin at `at` begins at a multiple of `step` instead: a PAX comment.
pub(super) fn filler(at: u64, step: u64) -> io::Result<Vec<u8>> {
    let block = BLOCK as u64;
    if at.is_multiple_of(step) {
        return Ok(Vec::new());
    }
    // A header, and at least one block of records.
    let missing = (at + 2 * block).next_multiple_of(step) - at - block;
    let size = usize::try_from(missing).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut blocks =
        Ustar { name: b"PaxHeaders.0", kind: b'x', size: missing, ..Ustar::default() }.block()?.to_vec();
    let words = size - size.to_string().len() - " comment=\n".len();
    record(&mut blocks, b"comment", &vec![b' '; words]);
    Ok(blocks)
}

/// ustar's names have 100 bytes, in a character set that only ASCII is sure to survive.
fn needs_record(name: &[u8]) -> bool {
    name.len() > 100 || !name.is_ascii()
}

/// `LENGTH KEY=VALUE\n`; the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The fields of one header block.
#[derive(Default)]
struct Ustar<'a> {
    name: &'a [u8],
    kind: u8,
    link: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: u64,
    device: (u32, u32),
}

impl Ustar<'_> {
    fn block(&self) -> io::Result<[u8; BLOCK]> {
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().ok_or(io::ErrorKind::InvalidData)?;
        put(&mut fields.name, self.name);
        put(&mut fields.linkname, self.link);
        fields.typeflag = [self.kind];
        octal(&mut fields.mode, self.mode.into())?;
        octal(&mut fields.uid, self.uid.into())?;
        octal(&mut fields.gid, self.gid.into())?;
        octal(&mut fields.size, self.size)?;
        octal(&mut fields.mtime, self.mtime)?;
        octal(&mut fields.dev_major, self.device.0.into())?;
        octal(&mut fields.dev_minor, self.device.1.into())?;
        header.set_cksum();
        Ok(*header.as_bytes())
    }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// Octal digits, zeros in front, a NUL behind.
fn octal(field: &mut [u8], number: u64) -> io::Result<()> {
    let width = field.len().saturating_sub(1);
    let digits = format!("{number:0width$o}");
    if digits.len() > width {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{number} does not fit a tar header"),
        ));
    }
    put(field, digits.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, filler};

    #[test]
    fn a_filler_ends_at_a_block_of_the_file_system() {
        for at in (0..12).map(|blocks| blocks * BLOCK as u64) {
            let length = filler(at, 4096).unwrap().len() as u64;
            assert_eq!((at + length) % 4096, 0, "from {at} by {length}");
            assert_eq!(length == 0, at % 4096 == 0, "from {at} by {length}");
            assert!(length == 0 || length >= 2 * BLOCK as u64, "from {at} by {length}");
        }
    }
}
