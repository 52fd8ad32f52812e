//! The descriptor-based mount calls (Linux 5.2, `mount_setattr` 5.12) and `pivot_root`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{check, owned};

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
    owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
}

/// Sets a parameter without a value.
pub fn set_flag(context: impl AsFd, key: &CStr) -> io::Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    let fd = context.as_fd().as_raw_fd();
    // SAFETY: the key is NUL-terminated, the value is null as this command demands, both are only read.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_FLAG, key.as_ptr(), null, 0) };
    check(result).map(drop)
}

/// Sets a parameter.
pub fn set_string(context: impl AsFd, key: &CStr, value: &CStr) -> io::Result<()> {
    let fd = context.as_fd().as_raw_fd();
    let (key, value) = (key.as_ptr(), value.as_ptr());
    // SAFETY: key and value are NUL-terminated and only read.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_SET_STRING, key, value, 0) };
    check(result).map(drop)
}

/// Makes the superblock.
pub fn create(context: impl AsFd) -> io::Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    let fd = context.as_fd().as_raw_fd();
    // SAFETY: this command takes neither key nor value.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, null, null, 0) };
    check(result).map(drop)
}

/// A detached mount of a superblock that was made, with mount attributes.
pub fn fsmount(context: impl AsFd, attrs: u64) -> io::Result<OwnedFd> {
    let fd = context.as_fd().as_raw_fd();
    // SAFETY: three integers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attrs) })
}

/// A detached copy of the mount at `path`, relative to `dir`; an empty path means `dir` itself. `recursive` is `AT_RECURSIVE` or 0.
pub fn clone_tree(dir: impl AsFd, path: &CStr, recursive: i32) -> io::Result<OwnedFd> {
    open_tree(dir.as_fd().as_raw_fd(), path, (recursive & libc::AT_RECURSIVE).cast_unsigned())
}

/// The same by an absolute path.
pub fn clone_tree_at(path: &CStr, recursive: i32) -> io::Result<OwnedFd> {
    open_tree(libc::AT_FDCWD, path, (recursive & libc::AT_RECURSIVE).cast_unsigned())
}

fn open_tree(dir: RawFd, path: &CStr, flags: u32) -> io::Result<OwnedFd> {
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH.cast_unsigned() } else { 0 };
    let flags = flags | empty | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    // SAFETY: the path is NUL-terminated and only read.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// Puts a detached mount on what `target` refers to.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty NUL-terminated literals.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) };
    check(result).map(drop)
}

/// Changes attributes of the mount whose root `mount` is; `recursive` is `AT_RECURSIVE` or 0.
pub fn set_attrs(mount: impl AsFd, set: u64, clear: u64, recursive: i32) -> io::Result<()> {
    let attrs = MountAttr { attr_set: set & !MOUNT_ATTR_IDMAP, attr_clr: clear, ..MountAttr::default() };
    setattr(mount.as_fd(), &attrs, recursive)
}

/// Sets one kind of propagation (`MS_PRIVATE` and so on).
pub fn set_propagation(mount: impl AsFd, propagation: u64, recursive: i32) -> io::Result<()> {
    setattr(mount.as_fd(), &MountAttr { propagation, ..MountAttr::default() }, recursive)
}

/// Translates ownership as the user namespace behind `users` does.
pub fn set_idmap(mount: impl AsFd, users: impl AsFd, recursive: i32) -> io::Result<()> {
    let userns_fd = u64::try_from(users.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    let attrs = MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd, ..MountAttr::default() };
    setattr(mount.as_fd(), &attrs, recursive)
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
