//! Copies of mounts that show their files' owners as a user namespace has them (Linux 5.12; for an overlay's layers 5.19).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::fd;
use super::wait::{self, Keep, Whose};

const OPEN_TREE_CLONE: libc::c_int = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_int = 4;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
const KILL: u32 = 9;

/// struct mount_attr of linux/mount.h.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    users: u64,
}

/// What may be done through a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    AsBefore,
    ReadOnly,
}

/// A user namespace with these maps: lines as `uid_map` and `gid_map` in proc take them.
pub(crate) fn users(uids: &str, gids: &str) -> io::Result<OwnedFd> {
    let child = sleeper()?;
    let namespace = (|| {
        std::fs::write(format!("/proc/{child}/uid_map"), uids)?;
        std::fs::write(format!("/proc/{child}/gid_map"), gids)?;
        fd::open_path(Path::new(&format!("/proc/{child}/ns/user")), OFlag::O_RDONLY)
    })();
    wait::kill(child, KILL)?;
    wait::until_ended(child)?;
    wait::ended(Whose::Only(child), Keep::Nothing)?;
    namespace
}

/// A process that does nothing in a user namespace of its own, which it keeps there.
fn sleeper() -> io::Result<Pid> {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: without a stack and other pointers this is a fork, and the shim has no other thread that could hold a lock.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(result)? {
        0 => sleep(),
        number => Ok(Pid::from_raw(i32::try_from(number).map_err(io::Error::other)?)),
    }
}

fn sleep() -> ! {
    // The connections in particular: their peers wait for their end. And not longer than the shim, should it be killed now.
    // SAFETY: only numbers are passed, and this process uses no descriptor any more.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    // SAFETY: only numbers are passed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: pause takes nothing.
        unsafe { libc::pause() };
    }
}

/// A copy, nowhere mounted, of what is mounted at `source`.
pub(crate) fn copy(source: &Path, users: &OwnedFd, access: Access) -> io::Result<OwnedFd> {
    let path = CString::new(source.as_os_str().as_bytes())?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_RECURSIVE;
    // SAFETY: the path is NUL-terminated and only read.
    let raw = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let raw = i32::try_from(Errno::result(raw)?).map_err(io::Error::other)?;
    // SAFETY: open_tree returned a new descriptor that nothing else owns.
    let mount = unsafe { OwnedFd::from_raw_fd(raw) };
    let read_only = if access == Access::ReadOnly { MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = Attributes {
        set: MOUNT_ATTR_IDMAP | read_only,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        users: u64::try_from(users.as_raw_fd()).map_err(io::Error::other)?,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    let (fd, empty, size) = (mount.as_raw_fd(), c"".as_ptr(), size_of::<Attributes>());
    // SAFETY: the path is an empty literal, and the kernel reads exactly `size` bytes of the attributes.
    let result =
        unsafe { libc::syscall(libc::SYS_mount_setattr, fd, empty, flags, &raw const attributes, size) };
    Errno::result(result)?;
    Ok(mount)
}

/// Puts a copy on `target`.
pub(crate) fn attach(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    let (from, empty, to) = (mount.as_raw_fd(), c"".as_ptr(), target.as_ptr());
    let flags = MOVE_MOUNT_F_EMPTY_PATH;
    // SAFETY: both paths are NUL-terminated and only read.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, empty, libc::AT_FDCWD, to, flags) };
    Errno::result(result)?;
    Ok(())
}
