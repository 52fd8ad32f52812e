//! The descriptor-based mount calls (Linux 5.2, `mount_setattr` 5.12) and `pivot_root`.
//!
//! Where a call is missing and `staged` may do the same in another way, it does; ENOSYS says that it may not.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::missing::{as_enosys, is_missing};
use super::{check, owned, staged};

const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC.cast_unsigned();
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
/// Numbered alike on all machines, as `open_tree` is; the libc crate has it for one of them.
pub const OPEN_TREE_ATTR: libc::c_long = libc::SYS_open_tree + 39;

/// struct mount_attr of linux/mount.h.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A context for a new file system of this kind.
pub fn fsopen(kind: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated and only read.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) });
    context.map_err(|source| as_enosys(source, libc::SYS_fsopen))
}

/// Sets a parameter without a value.
pub fn set_flag(context: impl AsFd, key: &CStr) -> io::Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    let fd = context.as_fd().as_raw_fd();
    // SAFETY: the key is NUL-terminated, the value is null as this command demands, both are only read.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_FLAG, key.as_ptr(), null, 0) };
    configured(result)
}

/// Sets a parameter.
pub fn set_string(context: impl AsFd, key: &CStr, value: &CStr) -> io::Result<()> {
    let fd = context.as_fd().as_raw_fd();
    let (key, value) = (key.as_ptr(), value.as_ptr());
    // SAFETY: key and value are NUL-terminated and only read.
    configured(unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_STRING, key, value, 0) })
}

/// Makes the superblock.
pub fn create(context: impl AsFd) -> io::Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    let fd = context.as_fd().as_raw_fd();
    // SAFETY: this command takes neither key nor value.
    configured(unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, null, null, 0) })
}

fn configured(result: libc::c_long) -> io::Result<()> {
    check(result).map(drop).map_err(|source| as_enosys(source, libc::SYS_fsconfig))
}

/// A detached mount of a superblock that was made, with mount attributes.
pub fn fsmount(context: impl AsFd, attrs: u64) -> io::Result<OwnedFd> {
    let fd = context.as_fd().as_raw_fd();
    // SAFETY: three integers.
    let mount = owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attrs) });
    mount.map_err(|source| as_enosys(source, libc::SYS_fsmount))
}

/// A detached copy of the mount that `source` is a part of, beginning with it. `recursive` is `AT_RECURSIVE` or 0.
pub fn clone_tree(source: impl AsFd, recursive: i32) -> io::Result<OwnedFd> {
    let source = source.as_fd();
    let again = |recursive| staged::bind(source, recursive);
    open_tree((source.as_raw_fd(), c""), recursive, again)
}

/// The same by an absolute path.
pub fn clone_tree_at(path: &CStr, recursive: i32) -> io::Result<OwnedFd> {
    let again =
        |recursive| staged::bind_at(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())), recursive);
    open_tree((libc::AT_FDCWD, path), recursive, again)
}

/// `clone_tree` and `set_attrs` for all of the copy: one call since Linux 6.15. What that refuses is done step by step, which finds
/// the right error.
pub fn clone_tree_with(source: impl AsFd, recursive: i32, (set, clear): (u64, u64)) -> io::Result<OwnedFd> {
    let source = source.as_fd();
    open_tree_attr((source.as_raw_fd(), c""), recursive, (set, clear)).or_else(|_| {
        let tree = clone_tree(source, recursive)?;
        set_attrs(&tree, set, clear, recursive)?;
        Ok(tree)
    })
}

/// The same by an absolute path.
pub fn clone_tree_at_with(path: &CStr, recursive: i32, (set, clear): (u64, u64)) -> io::Result<OwnedFd> {
    open_tree_attr((libc::AT_FDCWD, path), recursive, (set, clear)).or_else(|_| {
        let tree = clone_tree_at(path, recursive)?;
        set_attrs(&tree, set, clear, recursive)?;
        Ok(tree)
    })
}

fn open_tree_attr(
    (dir, path): (RawFd, &CStr),
    recursive: i32,
    (set, clear): (u64, u64),
) -> io::Result<OwnedFd> {
    let attrs = MountAttr { attr_set: set & !MOUNT_ATTR_IDMAP, attr_clr: clear, ..MountAttr::default() };
    let (path, attrs, flags) = (path.as_ptr(), &raw const attrs, copying(path, recursive));
    // SAFETY: the path is NUL-terminated and only read, and the kernel reads exactly the given size of the attributes.
    owned(unsafe { libc::syscall(OPEN_TREE_ATTR, dir, path, flags, attrs, size_of::<MountAttr>()) })
}

fn copying(path: &CStr, recursive: i32) -> u32 {
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH.cast_unsigned() } else { 0 };
    (recursive & libc::AT_RECURSIVE).cast_unsigned() | empty | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
}

fn open_tree(
    (dir, path): (RawFd, &CStr),
    recursive: i32,
    again: impl FnOnce(bool) -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let flags = copying(path, recursive);
    // SAFETY: the path is NUL-terminated and only read.
    match owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) }) {
        Err(source) if is_missing(&source, libc::SYS_open_tree) => again(recursive & libc::AT_RECURSIVE != 0),
        other => other,
    }
}

/// Puts a detached mount on what `target` refers to.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty NUL-terminated literals.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) };
    match check(result) {
        Err(source) if is_missing(&source, libc::SYS_move_mount) => staged::attach(mount, target),
        other => other.map(drop),
    }
}

/// Puts a detached mount on what `name`, one component and no link, is in an open directory.
pub fn attach_in(mount: impl AsFd, dir: impl AsFd, name: &CStr) -> io::Result<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), dir.as_fd().as_raw_fd());
    let (empty, flags) = (c"".as_ptr(), MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: both paths are NUL-terminated and only read.
    check(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, name.as_ptr(), flags) }).map(drop)
}

/// Puts a detached mount over the caller's `/`.
pub fn attach_over_root(mount: impl AsFd) -> io::Result<()> {
    let (from, at) = (mount.as_fd().as_raw_fd(), libc::AT_FDCWD);
    let (empty, root, flags) = (c"".as_ptr(), c"/".as_ptr(), MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: both paths are NUL-terminated literals.
    match check(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, at, root, flags) }) {
        Err(source) if is_missing(&source, libc::SYS_move_mount) => staged::attach_over_root(mount),
        other => other.map(drop),
    }
}

/// Changes attributes of the mount whose root `mount` is; `recursive` is `AT_RECURSIVE` or 0.
pub fn set_attrs(mount: impl AsFd, set: u64, clear: u64, recursive: i32) -> io::Result<()> {
    let attrs = MountAttr { attr_set: set & !MOUNT_ATTR_IDMAP, attr_clr: clear, ..MountAttr::default() };
    match setattr(mount.as_fd(), &attrs, recursive) {
        Err(source) if is_missing(&source, libc::SYS_mount_setattr) => {
            staged::set_attrs(mount, (set, clear), recursive != 0)
        }
        other => other,
    }
}

/// Sets one kind of propagation (`MS_PRIVATE` and so on).
pub fn set_propagation(mount: impl AsFd, propagation: u64, recursive: i32) -> io::Result<()> {
    match setattr(mount.as_fd(), &MountAttr { propagation, ..MountAttr::default() }, recursive) {
        Err(source) if is_missing(&source, libc::SYS_mount_setattr) => {
            staged::set_propagation(mount, propagation, recursive != 0)
        }
        other => other,
    }
}

/// Translates ownership as the user namespace behind `users` does.
pub fn set_idmap(mount: impl AsFd, users: impl AsFd, recursive: i32) -> io::Result<()> {
    let userns_fd = u64::try_from(users.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let attrs = MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd, ..MountAttr::default() };
    setattr(mount.as_fd(), &attrs, recursive).map_err(|source| as_enosys(source, libc::SYS_mount_setattr))
}

fn setattr(mount: BorrowedFd<'_>, attrs: &MountAttr, recursive: i32) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | recursive & libc::AT_RECURSIVE;
    let (fd, path, size) = (mount.as_raw_fd(), c"".as_ptr(), size_of::<MountAttr>());
    // SAFETY: the path is an empty literal and the kernel reads exactly `size` bytes of `attrs`.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, fd, path, flags, &raw const *attrs, size) })
        .map(drop)
}

/// Makes the working directory the root and puts the old root over it (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_root_here() -> io::Result<()> {
    // SAFETY: both paths are NUL-terminated literals.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}
