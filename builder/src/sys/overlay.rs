//! Mounts of the builder's own mount namespace: overlays, binds, tmpfs.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::mount::{MsFlags, mount};

/// The directories of an overlay.
#[derive(Debug)]
pub struct Layers<'a> {
    /// Read-only directories, lowest first.
    pub lower: Vec<BorrowedFd<'a>>,
    /// Where changes go, and the kernel's scratch directory on the same file system; `None` for a read-only view.
    pub upper: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// Where the overlay keeps its own attributes.
    pub attributes: Attributes,
}

/// The name space of overlay's extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// `trusted.overlay.*`, for root of the machine.
    Trusted,
    /// `user.overlay.*`, the only ones that a user namespace may write (Linux 5.11).
    User,
}

impl Attributes {
    /// Those that this process may write.
    #[must_use]
    pub fn of_this_process() -> Self {
        if super::userns::is_initial() { Self::Trusted } else { Self::User }
    }

    /// The attribute that makes a directory hide what lies below it.
    #[must_use]
    pub fn opaque(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.opaque",
            Self::User => c"user.overlay.opaque",
        }
    }
}

/// Makes a detached overlay mount; it lives as long as the descriptor unless it is attached.
///
/// # Errors
/// The kernel's: `ENODEV` without overlayfs, `EPERM` where a user namespace may not mount it (before Linux 5.11).
pub fn overlay(layers: &Layers<'_>) -> io::Result<OwnedFd> {
    let context = fsopen(c"overlay")?;
    if layers.attributes == Attributes::User {
        flag(&context, c"userxattr")?;
    }
    set(&context, c"index", "off")?;
    set(&context, c"metacopy", "off")?;
    // A renamed directory would be a pointer into the layers below, which no layer format can say.
    set(&context, c"redirect_dir", if layers.attributes == Attributes::User { "nofollow" } else { "off" })?;
    add_lower(&context, layers)?;
    if let Some((upper, work)) = layers.upper {
        set(&context, c"upperdir", &super::proc_path(upper))?;
        set(&context, c"workdir", &super::proc_path(work))?;
        // No sync at unmount: what a crash spoils is thrown away anyway. Linux 5.10.
        flag(&context, c"volatile")?;
    }
    // SAFETY: a live context and a command without key and value.
    super::checked(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            6,
            std::ptr::null::<u8>(),
            std::ptr::null::<u8>(),
            0,
        )
    })?;
    // SAFETY: a live context; the flags are constants.
    let fd = super::checked(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0) })?;
    own(fd)
}

/// Linux 6.7 takes one layer a call; before that the list is one string of at most 255 bytes here, which
/// mount(2) extends to a page.
fn add_lower(context: &OwnedFd, layers: &Layers<'_>) -> io::Result<()> {
    for lower in layers.lower.iter().rev() {
        match set(context, c"lowerdir+", &super::proc_path(lower)) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                return set(context, c"lowerdir", &joined(&layers.lower));
            }
            other => other?,
        }
    }
    Ok(())
}

fn joined(lower: &[BorrowedFd<'_>]) -> String {
    let mut list = String::new();
    for fd in lower.iter().rev() {
        let colon = if list.is_empty() { "" } else { ":" };
        // Writing to a String cannot fail.
        let _always = write!(list, "{colon}{}", super::proc_path(fd));
    }
    list
}

/// Puts a detached mount on a directory.
///
/// # Errors
/// The kernel's.
pub fn attach(detached: &OwnedFd, target: impl AsFd) -> io::Result<()> {
    const FROM_EMPTY: libc::c_uint = 0x4;
    const TO_EMPTY: libc::c_uint = 0x40;
    // SAFETY: both descriptors are borrowed for the call and both paths are empty literals.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            detached.as_raw_fd(),
            c"".as_ptr(),
            target.as_fd().as_raw_fd(),
            c"".as_ptr(),
            FROM_EMPTY | TO_EMPTY,
        )
    };
    super::checked(moved).map(drop)
}

/// A copy of the mount that shows a directory, detached, as a bind mount would be.
///
/// # Errors
/// The kernel's.
pub fn clone_tree(source: impl AsFd) -> io::Result<OwnedFd> {
    const CLONE: libc::c_uint = 1;
    const CLOEXEC: libc::c_uint = libc::O_CLOEXEC.unsigned_abs();
    const EMPTY: libc::c_uint = libc::AT_EMPTY_PATH.unsigned_abs();
    // SAFETY: the descriptor is borrowed for the call, the path is an empty literal.
    let fd = super::checked(unsafe {
        libc::syscall(libc::SYS_open_tree, source.as_fd().as_raw_fd(), c"".as_ptr(), CLONE | CLOEXEC | EMPTY)
    })?;
    own(fd)
}

/// Takes whatever is mounted at `path` away, at once for the name, later for those who still use it.
///
/// # Errors
/// The kernel's.
pub fn detach(path: &str) -> io::Result<()> {
    Ok(nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH)?)
}

/// From now on mounts of this namespace are seen by nobody else.
pub(super) fn make_private() -> io::Result<()> {
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?)
}

/// Shows the processes of the new pid namespace.
pub(super) fn mount_proc() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)?)
}

/// Mounts an empty file system in memory, for files that must vanish with the builder.
///
/// # Errors
/// The kernel's.
pub fn tmpfs(target: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some("mode=0700"))?)
}

fn fsopen(kind: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is a NUL-terminated literal, 1 is FSOPEN_CLOEXEC.
    own(super::checked(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) })?)
}

fn set(context: &OwnedFd, key: &CStr, value: &str) -> io::Result<()> {
    let value = CString::new(value)?;
    // SAFETY: a live context; key and value are NUL-terminated and outlive the call. 1 is FSCONFIG_SET_STRING.
    let set =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), 1, key.as_ptr(), value.as_ptr(), 0) };
    super::checked(set).map(drop)
}

fn flag(context: &OwnedFd, key: &CStr) -> io::Result<()> {
    // SAFETY: a live context and a NUL-terminated literal; 0 is FSCONFIG_SET_FLAG, which takes no value.
    let set = unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), 0, key.as_ptr(), std::ptr::null::<u8>(), 0)
    };
    super::checked(set).map(drop)
}

fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just returned this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
