//! The flags of a mount: set, cleared, and those that are not to be cleared.

use std::os::fd::OwnedFd;

use nix::mount::MsFlags;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::plan::mount_options::{Change, Tree};
use crate::sys::mount;

const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
const LOCKABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// The same for mount(2); None for what it cannot say.
pub fn of_mount(attrs: u64) -> Option<MsFlags> {
    let pairs = [
        (libc::MOUNT_ATTR_RDONLY, libc::MS_RDONLY),
        (libc::MOUNT_ATTR_NOSUID, libc::MS_NOSUID),
        (libc::MOUNT_ATTR_NODEV, libc::MS_NODEV),
        (libc::MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC),
        (libc::MOUNT_ATTR_NOATIME, libc::MS_NOATIME),
        (libc::MOUNT_ATTR_STRICTATIME, libc::MS_STRICTATIME),
        (libc::MOUNT_ATTR_NODIRATIME, libc::MS_NODIRATIME),
    ];
    let known = pairs.iter().fold(0, |sum, (attr, _)| sum | attr);
    let flags = pairs.iter().filter(|(attr, _)| attrs & attr != 0).fold(0, |sum, (_, flag)| sum | flag);
    (attrs & !known == 0).then(|| MsFlags::from_bits_retain(flags))
}

/// EPERM, as from the kernel, where a flag that the mount has is to go, or its access times are to become others.
pub fn refuse_locked(tree: &OwnedFd, named: Change) -> std::io::Result<()> {
    let present = present_flags(tree)?;
    let denied = Err(std::io::Error::from_raw_os_error(libc::EPERM));
    if named.clear & present & LOCKABLE != 0 {
        return denied;
    }
    if named.clear & present & libc::MOUNT_ATTR_RDONLY != 0 {
        // It may be the whole file system that is read-only, and then there is nothing to take off. Only trying tells: the copy is ours.
        mount::set_attrs(tree, 0, libc::MOUNT_ATTR_RDONLY, 0)?;
        if present_flags(tree)? & libc::MOUNT_ATTR_RDONLY == 0 {
            return denied;
        }
    }
    // A word that only takes something off, and of these times only, is put up with, and nothing comes of it: so does mount(8).
    if named.set & (ATIME | libc::MOUNT_ATTR_NODIRATIME) == 0 && named.clear & ATIME == 0 {
        return Ok(());
    }
    let directories = named.set & !present & libc::MOUNT_ATTR_NODIRATIME != 0;
    match named.set & ATIME != present & ATIME || directories {
        true => denied,
        false => Ok(()),
    }
}

/// Flags that are only to be reset may be locked; the one kind that the kernel never locks goes in any case.
pub fn reset_flags(tree: &OwnedFd, named: Change, reset: u64) -> std::io::Result<()> {
    let all = Change { set: named.set, clear: named.clear | reset };
    match set_attrs(tree, all, Tree::One) {
        Err(source) if source.raw_os_error() == Some(libc::EPERM) && reset != 0 => {
            let never_locked = reset & libc::MOUNT_ATTR_NOSYMFOLLOW;
            set_attrs(tree, Change { set: named.set, clear: named.clear | never_locked }, Tree::One)
        }
        other => other,
    }
}

/// A flag that a more privileged namespace has locked cannot be cleared, but one that is not even set need not be.
pub fn set_attrs(tree: &OwnedFd, change: Change, reach: Tree) -> std::io::Result<()> {
    if change.is_empty() {
        return Ok(());
    }
    let first = mount::set_attrs(tree, change.set, change.clear, reach.flag());
    match &first {
        Err(source) if source.raw_os_error() == Some(libc::EPERM) && change.clear != 0 => {}
        _ => return first,
    }
    let present = present_flags(tree)?;
    let clear = change.clear & present & !libc::MOUNT_ATTR__ATIME;
    match (clear, change.set) {
        (0, 0) => Ok(()),
        // Clearing the access time field is asked for only together with setting it; without it the present kind stays.
        (0, set) => mount::set_attrs(tree, set & !libc::MOUNT_ATTR__ATIME, 0, reach.flag()),
        _ => first,
    }
}

fn present_flags(tree: &OwnedFd) -> std::io::Result<u64> {
    let present = fstatvfs(tree)?.flags();
    let pairs = [
        (FsFlags::ST_RDONLY, libc::MOUNT_ATTR_RDONLY),
        (FsFlags::ST_NOSUID, libc::MOUNT_ATTR_NOSUID),
        (FsFlags::ST_NODEV, libc::MOUNT_ATTR_NODEV),
        (FsFlags::ST_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        (FsFlags::ST_NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
    ];
    let flags = pairs.iter().filter(|(flag, _)| present.contains(*flag)).fold(0, |sum, (_, attr)| sum | attr);
    // The kind of access time is a field and not a bit; relatime is its 0.
    let times = match (present.contains(FsFlags::ST_NOATIME), present.contains(FsFlags::ST_RELATIME)) {
        (true, _) => libc::MOUNT_ATTR_NOATIME,
        (false, true) => libc::MOUNT_ATTR_RELATIME,
        (false, false) => libc::MOUNT_ATTR_STRICTATIME,
    };
    Ok(flags | times)
}
