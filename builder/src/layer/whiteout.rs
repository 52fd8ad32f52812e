//! Deletions: `.wh.NAME` hides a lower file, `.wh..wh..opq` everything lower in its directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknodat};

use super::node::Place;
use super::tree;
use super::unpack::Whiteouts;
use crate::error::{Error, Kind};
use crate::sys::{overlay, root, xattr};

/// Before the name of what is hidden.
pub(super) const PREFIX: &[u8] = b".wh.";
/// In a directory that hides everything below it.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a member's name hides.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hide {
    /// A lower file or directory of this name.
    Name(OsString),
    /// Everything lower in the directory.
    Below,
    /// Bookkeeping of AUFS, which means nothing elsewhere.
    Nothing,
}

/// Reads a last component; `None` for a name that is no whiteout.
pub(super) fn hides(name: &OsStr) -> Result<Option<Hide>, Error> {
    let Some(hidden) = name.as_bytes().strip_prefix(PREFIX) else { return Ok(None) };
    match hidden {
        _ if name.as_bytes() == OPAQUE => Ok(Some(Hide::Below)),
        _ if hidden.starts_with(PREFIX) => Ok(Some(Hide::Nothing)),
        b"" | b"." | b".." => Err(Error::new(Kind::Attack, "it would delete a directory that holds it")),
        hidden => Ok(Some(Hide::Name(OsStr::from_bytes(hidden).to_owned()))),
    }
}

/// Paths that the layer itself brought, which its deletions spare. Needed only where deletions are carried out.
pub(super) struct Seen(Option<HashSet<Vec<OsString>>>);

impl Seen {
    pub(super) fn new(whiteouts: Whiteouts) -> Self {
        Self((whiteouts == Whiteouts::Applied).then(HashSet::new))
    }

    /// Adds the path and everything on the way to it.
    pub(super) fn insert(&mut self, path: &[OsString]) {
        let Some(seen) = &mut self.0 else { return };
        for length in (1..=path.len()).rev() {
            if !seen.insert(path.get(..length).unwrap_or_default().to_vec()) {
                return;
            }
        }
    }

    pub(super) fn contains(&self, path: &[OsString]) -> bool {
        self.0.as_ref().is_some_and(|seen| seen.contains(path))
    }
}

/// Marks a name as hidden for an overlay. What this layer itself has there stays; a directory then hides what is lower.
pub(super) fn mark<D: AsFd>(place: &Place<'_, D>, attributes: overlay::Attributes) -> io::Result<()> {
    match mknodat(place.at, place.name, SFlag::S_IFCHR, Mode::empty(), 0) {
        Err(Errno::EEXIST) => match tree::stat(place.at, place.name)? {
            Some(found) if tree::kind(&found) == libc::S_IFDIR => {
                mark_opaque(place.at, place.name, attributes)
            }
            _ => Ok(()),
        },
        made => Ok(made?),
    }
}

/// Marks a directory as hiding everything lower.
pub(super) fn mark_opaque(at: impl AsFd, name: &OsStr, attributes: overlay::Attributes) -> io::Result<()> {
    xattr::set(at, name, OsStr::from_bytes(attributes.opaque().to_bytes()), b"y")
}

/// Removes what lower layers left in a directory, sparing what this layer brought.
pub(super) fn clear(directory: impl AsFd, path: &[OsString], seen: &Seen) -> io::Result<()> {
    for name in root::names(&directory)? {
        let below: Vec<OsString> = path.iter().cloned().chain([name.clone()]).collect();
        if !seen.contains(&below) {
            root::remove(&directory, &name)?;
            continue;
        }
        let is_directory =
            tree::stat(&directory, &name)?.is_some_and(|found| tree::kind(&found) == libc::S_IFDIR);
        if is_directory {
            let child = root::open_child(
                &directory,
                &name,
                nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY,
            )?;
            clear(&child, &below, seen)?;
        }
    }
    Ok(())
}
