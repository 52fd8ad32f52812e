//! Hides paths, and makes paths read-only.

use std::os::fd::OwnedFd;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{fstatat, makedev};

use super::place;
use super::sources::clone_of;
use super::{fds, fresh};
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
        fds::leave(place);
    }
    let (mut empty, mut null): (Option<OwnedFd>, Option<OwnedFd>) = (None, None);
    for path in &masks.masked {
        let Some(place) = open(root, path)? else { continue };
        let masked = match place::is_directory(&place) {
            Ok(true) => hide_directory(&place, &mut empty),
            Ok(false) => hide_file(&place, &mut null),
            Err(source) => Err(source),
        };
        masked.map_err(|source| match source.raw_os_error() {
            Some(libc::ENODEV) => Error::new(Kind::Attack, "mask paths: /dev/null is not the null device"),
            _ => Error::system(format!("mask {}", path.display()), source),
        })?;
        fds::leave(place);
    }
    empty.into_iter().chain(null).for_each(fds::leave);
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
    mount::attach(&tree, place)?;
    fds::leave(tree);
    Ok(())
}

/// All of them share one empty file system.
fn hide_directory(place: &OwnedFd, empty: &mut Option<OwnedFd>) -> std::io::Result<()> {
    if let Some(first) = empty {
        let copy = clone_of(&*first, Tree::One)?;
        mount::attach(&copy, place)?;
        fds::leave(copy);
        return Ok(());
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

/// All of them share one mount's copies; ENODEV: it is not the null device.
fn hide_file(place: &OwnedFd, null: &mut Option<OwnedFd>) -> std::io::Result<()> {
    let copy = match null {
        Some(first) => clone_of(&*first, Tree::One)?,
        None => {
            let first = mount::clone_tree_at(c"/dev/null", 0)?;
            let found = fstatat(&first, "", AtFlags::AT_EMPTY_PATH)?;
            if found.st_mode & libc::S_IFMT != libc::S_IFCHR || found.st_rdev != makedev(1, 3) {
                return Err(std::io::Error::from_raw_os_error(libc::ENODEV));
            }
            first
        }
    };
    mount::attach(&copy, place)?;
    match null {
        Some(_) => fds::leave(copy),
        None => *null = Some(copy),
    }
    Ok(())
}
