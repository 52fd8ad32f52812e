//! What a scanner wrote about the image, read as a stranger's files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::fcntl::OFlag;

use super::cell::{self, Chain};
use crate::error::{Error, Kind};
use crate::graph::{RESULT_SCAN, SCANNED};
use crate::snapshot::View;
use crate::store::Store;
use crate::sys::root;

/// A larger one is refused.
const LARGEST: u64 = 40 << 20;

/// A file that a scanner wrote: its name and what is in it.
pub type Scan = (String, Vec<u8>);

/// The files in `SCANNED`, the result's own first, then by name.
pub(super) fn read(store: &Store, chain: &Chain) -> Result<Vec<Scan>, Error> {
    let doing = |error| Error::system(format!("read {SCANNED} of the scanner"), error);
    let view = View::read_only(store, &cell::files(store, chain, None)?)?;
    let Some(top) = view.root() else { return Ok(Vec::new()) };
    let place = root::open(top, Path::new(SCANNED), OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(doing)?;
    let mut scans = Vec::new();
    for name in root::names(&place).map_err(doing)? {
        let shown = name.to_string_lossy().into_owned();
        let bytes = open(&place, &name).and_then(read_whole);
        let bytes = bytes.map_err(|error| {
            Error::system(format!("read {SCANNED}/{} of the scanner", shown.escape_debug()), error)
        })?;
        scans.push((shown, bytes));
    }
    if scans.is_empty() {
        let text = format!("scan the image: the scanner wrote nothing to {SCANNED}");
        return Err(Error::new(Kind::Invalid, text));
    }
    let is_other = |name: &str| name.split('.').next() != Some(RESULT_SCAN);
    scans.sort_by(|(one, _), (other, _)| (is_other(one), one).cmp(&(is_other(other), other)));
    Ok(scans)
}

fn open(place: &std::os::fd::OwnedFd, name: &std::ffi::OsStr) -> io::Result<File> {
    // O_NONBLOCK: a FIFO would hang, and is refused below.
    root::open_child(place, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map(File::from)
}

fn read_whole(file: File) -> io::Result<Vec<u8>> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    if !file.metadata()?.is_file() {
        return refuse("not a regular file");
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST { refuse("larger than 40 MiB") } else { Ok(bytes) }
}
