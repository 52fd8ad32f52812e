//! Hides paths, and makes paths read-only.

use std::os::fd::OwnedFd;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{fstatat, makedev};

use super::fresh;
use super::place;
use super::sources::clone_of;
use crate::error::{Error, Kind};
use crate::plan::masks::Masks;
use crate::plan::mount_options::Tree;
use crate::sys::{mount, path};

/// Before the root is entered: /dev/null is taken from the host, where the container cannot have swapped it
/// (CVE-2025-31133), and looked at nevertheless.
pub fn apply(masks: &Masks, root: &OwnedFd) -> Result<(), Error> {
    for path in &masks.readonly {
        let Some(place) = open(root, path)? else { continue };
        make_readonly(&place)
            .map_err(|source| Error::system(format!("make {} read-only", path.display()), source))?;
    }
    let mut empty: Option<OwnedFd> = None;
    for path in &masks.masked {
        let Some(place) = open(root, path)? else { continue };
        let masked = match place::is_directory(&place) {
            Ok(true) => hide_directory(&place, &mut empty),
            Ok(false) => null()?.and_then(|null| mount::attach(&null, &place)),
            Err(source) => Err(source),
        };
        masked.map_err(|source| Error::system(format!("mask {}", path.display()), source))?;
    }
    Ok(())
}

/// What is not there needs no protection.
fn open(root: &OwnedFd, path: &std::path::Path) -> Result<Option<OwnedFd>, Error> {
    match path::open_in(root, path, OFlag::O_PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(source) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(source) => Err(Error::system(format!("open {}", path.display()), source)),
    }
}

fn make_readonly(place: &OwnedFd) -> std::io::Result<()> {
    let tree = clone_of(place, Tree::Whole)?;
    mount::set_attrs(&tree, libc::MOUNT_ATTR_RDONLY, 0, Tree::Whole.flag())?;
    mount::attach(&tree, place)
}

/// All of them share one empty file system.
fn hide_directory(place: &OwnedFd, empty: &mut Option<OwnedFd>) -> std::io::Result<()> {
    if let Some(first) = empty {
        return mount::attach(clone_of(&*first, Tree::One)?, place);
    }
    let params = [("mode", "755"), ("nr_blocks", "1"), ("nr_inodes", "1")];
    let params =
        params.map(|(key, value)| crate::plan::mount_options::Param::Value(key.to_owned(), value.to_owned()));
    let attrs = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let made = fresh::make("tmpfs", "tmpfs", &params, attrs).map_err(|(source, _)| source)?;
    mount::attach(&made, place)?;
    *empty = Some(made);
    Ok(())
}

/// A copy of the mount of the host's /dev/null.
fn null() -> Result<std::io::Result<OwnedFd>, Error> {
    let null = match mount::clone_tree_at(c"/dev/null", 0) {
        Ok(null) => null,
        Err(source) => return Ok(Err(source)),
    };
    let found = match fstatat(&null, "", AtFlags::AT_EMPTY_PATH) {
        Ok(found) => found,
        Err(errno) => return Ok(Err(errno.into())),
    };
    match found.st_mode & libc::S_IFMT == libc::S_IFCHR && found.st_rdev == makedev(1, 3) {
        true => Ok(Ok(null)),
        false => Err(Error::new(Kind::Attack, "mask paths: /dev/null is not the null device")),
    }
}
