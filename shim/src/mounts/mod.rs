//! The root filesystem that containerd asks for, mounted and taken down.
//!
//! Invariant: after `unmount_under` nothing is mounted below that directory.

mod flags;
mod fuse;
mod inside;
mod layers;
mod overlay;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use containerd_shim_protos::types::mount::Mount;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use self::flags::{Looped, Owners, Parsed};
use self::inside::Inside;
use crate::error::{Doing, Error};
use crate::sys::idmap::{self, Access};
use crate::sys::loops::{self, Device};
use crate::sys::{child, fd};

/// Where layers with shifted owners are while their overlay is mounted: beside the root filesystem.
const LAYERS: &str = "coracle-layers";

/// Mounts each of `mounts` on `target`, the later over the earlier; on failure all are undone.
pub(crate) fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(target).doing(|| format!("create {}", target.display()))?;
    for one in mounts {
        if let Err(error) = mount_one(one, &Place { root: target, inner: &one.target }) {
            unmount_under(target)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Where a mount goes: a root filesystem, or a directory of what is mounted there already.
struct Place<'a> {
    root: &'a Path,
    inner: &'a str,
}

impl Place<'_> {
    /// Calls `act` with a path to what is there now: after a mount, that is the mount.
    fn with<T>(&self, act: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
        if self.inner.is_empty() { act(self.root) } else { act(&Inside::find(self.root, self.inner)?.path()) }
    }
}

fn mount_one(asked: &Mount, place: &Place) -> Result<(), Error> {
    if let Some(helper) = fuse::helper(&asked.type_) {
        return place.with(|path| fuse::mount(asked, helper, path));
    }
    let parsed = flags::parse(&asked.options)?;
    let users = parsed.owners.as_ref().map(users).transpose()?;
    mount_plain(asked, place, (&parsed, users.as_ref()))?;
    // An overlay's layers are shifted, not the overlay itself.
    match users {
        Some(users) if asked.type_ != "overlay" => place.with(|path| {
            let doing = || format!("shift the owners of {}", asked.source);
            let copy = idmap::copy(path, &users, Access::AsBefore).doing(doing)?;
            idmap::attach(&copy, path).doing(doing)
        }),
        _ => Ok(()),
    }
}

fn users(owners: &Owners) -> Result<OwnedFd, Error> {
    idmap::users(&owners.uids, &owners.gids)
        .doing(|| "make a user namespace with the ids of the mount".into())
}

/// The propagation flags, which take a call of their own.
const PROPAGATION: MsFlags =
    MsFlags::MS_PRIVATE.union(MsFlags::MS_SHARED).union(MsFlags::MS_SLAVE).union(MsFlags::MS_UNBINDABLE);

fn mount_plain(
    asked: &Mount,
    place: &Place,
    (parsed, users): (&Parsed, Option<&OwnedFd>),
) -> Result<(), Error> {
    let shown = place.root.join(place.inner.trim_start_matches('/'));
    let doing = || format!("mount {} {} on {}", asked.type_, asked.source, shown.display());
    let (data, _layers) = match users {
        Some(users) if asked.type_ == "overlay" => {
            let (data, layers) = layers::shift(&parsed.data, users, place.root.with_file_name(LAYERS))?;
            (data, Some(layers))
        }
        _ => (parsed.data.clone(), None),
    };
    let (data, _dir) = overlay::shorten(&asked.type_, data)?;
    let device = parsed.looped.map(|how| device(asked, parsed.flags, how)).transpose()?;
    let source = device.as_ref().map_or(Path::new(&asked.source), |device| &device.path);
    let first = parsed.flags.difference(PROPAGATION);
    let kind = Some(asked.type_.as_str()).filter(|kind| !kind.is_empty() && *kind != "bind");
    place.with(|path| mount(Some(source), path, kind, first, Some(data.as_str())).doing(doing))?;
    let change =
        |flags| place.with(|path| mount(None::<&str>, path, None::<&str>, flags, None::<&str>).doing(doing));
    if first.contains(MsFlags::MS_BIND) && !first.difference(MsFlags::MS_BIND | MsFlags::MS_REC).is_empty() {
        // The kernel ignores every flag but MS_REC when it binds: they take a second call.
        change(first | MsFlags::MS_REMOUNT)?;
    }
    let propagation = parsed.flags.intersection(PROPAGATION);
    if !propagation.is_empty() {
        change(propagation | parsed.flags.intersection(MsFlags::MS_REC))?;
    }
    Ok(())
}

fn device(asked: &Mount, flags: MsFlags, how: Looped) -> Result<Device, Error> {
    let wanted = loops::Use { read_only: flags.contains(MsFlags::MS_RDONLY), direct: how == Looped::Direct };
    loops::attach(Path::new(&asked.source), wanted).doing(|| format!("make {} a block device", asked.source))
}

/// Unmounts everything at and below `dir`, a root filesystem, the newest first.
pub(crate) fn unmount_under(dir: &Path) -> Result<(), Error> {
    let dir = real(dir);
    let table =
        std::fs::read_to_string("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo".into())?;
    // Of a shim that was killed while it mounted an overlay.
    let layers = mounted_under(&table, &dir.with_file_name(LAYERS));
    for Mounted { place, kind } in layers.into_iter().chain(mounted_under(&table, &dir)).rev() {
        let doing = || format!("unmount {}", place.display());
        if kind == "overlay" {
            let root = fd::open_path(&place, OFlag::O_PATH | OFlag::O_NOFOLLOW).doing(doing)?;
            umount2(&place, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH).doing(doing)?;
            // The last reference to an overlay writes the whole upper file system to disk. That took 85 ms of a
            // container's deletion on a busy machine, for files about to be removed. Not so for block devices: their
            // snapshotters take them down next.
            child::drop_aside(root);
            continue;
        }
        match umount2(&place, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {} // gone meanwhile
            // Somebody still has a file open in there; out of sight is enough for containerd to remove the bundle.
            Err(Errno::EBUSY) => {
                umount2(&place, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH).doing(doing)?
            }
            Err(errno) => return Err(Error::system(doing(), errno.into())),
        }
    }
    Ok(())
}

/// The path by which the kernel's table knows a directory: a bundle may lie behind a link. Its last part is our own word.
fn real(dir: &Path) -> PathBuf {
    let parent = dir.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, dir.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => dir.to_owned(), // not there, so nothing is mounted in it
    }
}

#[derive(PartialEq, Eq, Debug)]
struct Mounted {
    place: PathBuf,
    kind: String,
}

/// Mounts of `table`, in their order, that are on `dir` or in it.
fn mounted_under(table: &str, dir: &Path) -> Vec<Mounted> {
    let mounts = table.lines().filter_map(|line| {
        let (fields, source) = line.split_once(" - ")?;
        let place = unescape(fields.split(' ').nth(4)?);
        let kind = source.split(' ').next()?.to_owned();
        Some(Mounted { place, kind })
    });
    mounts.filter(|mounted| mounted.place.starts_with(dir)).collect()
}

/// mountinfo writes blanks, newlines and backslashes as three octal digits.
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_inside_is_found_in_the_order_of_mounting() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:1 / /b/rootfs rw - overlay o rw\n\
                     3 1 0:2 / /b/rootfs2 rw - tmpfs t rw\n4 2 0:3 / /b/rootfs/a\\040b rw - tmpfs t rw\n";
        let mounted = |place: &str, kind: &str| Mounted { place: place.into(), kind: kind.into() };
        assert_eq!(
            mounted_under(table, Path::new("/b/rootfs")),
            [mounted("/b/rootfs", "overlay"), mounted("/b/rootfs/a b", "tmpfs")]
        );
    }

    #[test]
    fn a_backslash_that_is_no_escape_stays() {
        assert_eq!(unescape("/a\\9"), PathBuf::from("/a\\9"));
        assert_eq!(unescape("/a\\134b"), PathBuf::from("/a\\b"));
    }
}
