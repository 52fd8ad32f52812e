//! Reading and writing the files of a cgroup: one open, one read or write each.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use crate::error::Error;

/// Writes in one piece: the kernel takes every write as a command of its own.
pub fn write(dir: &Path, file: &str, value: &str) -> Result<(), Error> {
    let path = dir.join(file);
    let written =
        OpenOptions::new().write(true).open(&path).and_then(|mut open| write_once(&mut open, value));
    written.map_err(|source| Error::system(format!("write {value:?} to {}", path.display()), source))
}

fn write_once(open: &mut std::fs::File, value: &str) -> std::io::Result<()> {
    match open.write(value.as_bytes()) {
        Err(source) if source.kind() == ErrorKind::Interrupted => open.write(value.as_bytes()).map(drop),
        other => other.map(drop),
    }
}

/// The whole content, without the last line's end.
pub fn read(dir: &Path, file: &str) -> Result<String, Error> {
    let path = dir.join(file);
    let mut text =
        read_kernel(&path).map_err(|source| Error::system(format!("read {}", path.display()), source))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Reads a file that the kernel writes as it is read. Its size is unknown and short pieces are no end; but one piece
/// of less than half a page is all there is, and asking for the rest of it would double the system calls.
pub fn read_kernel(path: &Path) -> std::io::Result<String> {
    read_open(std::fs::File::open(path)?)
}

/// The same of an open one.
pub fn read_open(mut open: std::fs::File) -> std::io::Result<String> {
    let mut piece = [0; 4096];
    let count = open.read(&mut piece)?;
    let mut bytes = piece.get(..count).unwrap_or_default().to_vec();
    if count >= 2048 {
        open.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The same, None where the file is not there.
pub fn read_if_there(dir: &Path, file: &str) -> Result<Option<String>, Error> {
    match read(dir, file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One number in a file; what is not there or says `max` is None.
pub fn number(dir: &Path, file: &str) -> Option<u64> {
    read(dir, file).ok()?.parse().ok()
}
