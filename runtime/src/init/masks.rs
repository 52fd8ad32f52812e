//! Hides paths, and makes paths read-only.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::mount::MsFlags;
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
        let Some(place) = there(path::open_in(root, path, OFlag::O_PATH), path)? else { continue };
        make_readonly(&place)
            .map_err(|source| Error::system(format!("make {} read-only", path.display()), source))?;
        fds::leave(place);
    }
    let (mut empty, mut null): (Empty<'_>, Option<OwnedFd>) = (Empty::None, None);
    for path in &masks.masked {
        let Some(place) = there(find(root, path), path)? else { continue };
        let masked = match place {
            Found::Directory(place) => hide_directory(place, (root, path), &mut empty),
            Found::File(place) => hide_file(place, &mut null),
        };
        masked.map_err(|source| match source.raw_os_error() {
            Some(libc::ENODEV) => Error::new(Kind::Attack, "mask paths: /dev/null is not the null device"),
            _ => Error::system(format!("mask {}", path.display()), source),
        })?;
    }
    let empty = match empty {
        Empty::None => None,
        Empty::At(_, top) | Empty::Open(top) => Some(top),
    };
    empty.into_iter().chain(null).for_each(fds::leave);
    Ok(())
}

/// The empty file system that all masked directories share.
enum Empty<'a> {
    None,
    /// On the directory of this path, which is the one that is open.
    At(&'a Path, OwnedFd),
    Open(OwnedFd),
}

/// What has to be hidden.
enum Found {
    Directory(OwnedFd),
    File(OwnedFd),
}

/// Opening tells one from the other.
fn find(root: &OwnedFd, path: &Path) -> std::io::Result<Found> {
    match path::open_in(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Err(source) if source.raw_os_error() == Some(libc::ENOTDIR) => {
            path::open_in(root, path, OFlag::O_PATH).map(Found::File)
        }
        other => other.map(Found::Directory),
    }
}

/// What is not there needs no protection.
fn there<T>(opened: std::io::Result<T>, path: &Path) -> Result<Option<T>, Error> {
    match opened {
        Ok(place) => Ok(Some(place)),
        Err(source) if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(source) => Err(Error::system(format!("open {}", path.display()), source)),
    }
}

fn make_readonly(place: &OwnedFd) -> std::io::Result<()> {
    let tree = mount::clone_tree_with(place, Tree::Whole.flag(), (libc::MOUNT_ATTR_RDONLY, 0))?;
    mount::attach(&tree, place)?;
    fds::leave(tree);
    Ok(())
}

/// The first by mount(2), in one system call; the others get copies of that mount.
fn hide_directory<'a>(
    place: OwnedFd,
    (root, path): (&OwnedFd, &'a Path),
    empty: &mut Empty<'a>,
) -> std::io::Result<()> {
    if let Empty::At(first, covered) = empty {
        let top = place::top(root, first, place::device(covered)?)?;
        // The one that it covers is closed with the others, as all are here.
        if let Empty::At(_, covered) = std::mem::replace(empty, Empty::Open(top)) {
            fds::leave(covered);
        }
    }
    if let Empty::Open(first) = empty {
        let copy = clone_of(&*first, Tree::One)?;
        mount::attach(&copy, &place)?;
        fds::leave(copy);
        fds::leave(place);
        return Ok(());
    }
    let target = fresh::below(&place, None);
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // Its root is the one inode that it may have.
    let options = Some("mode=755,nr_inodes=1");
    nix::mount::mount(Some("tmpfs"), target.as_str(), Some("tmpfs"), flags, options)?;
    *empty = Empty::At(path, place);
    Ok(())
}

/// All of them share one mount's copies; ENODEV: it is not the null device.
fn hide_file(place: OwnedFd, null: &mut Option<OwnedFd>) -> std::io::Result<()> {
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
    mount::attach(&copy, &place)?;
    fds::leave(place);
    match null {
        Some(_) => fds::leave(copy),
        None => *null = Some(copy),
    }
    Ok(())
}
