//! Calls that are not there: the kernel is older than they are, or a seccomp filter around the runtime (that of a container which
//! containers are started in) refuses them.

use std::io;

/// Whether it was the call itself that was refused, and not what it was asked to do. Filters answer EPERM too, which says nothing
/// yet: the kernel answers it for want of a right.
pub(super) fn is_missing(source: &io::Error, call: libc::c_long) -> bool {
    match source.raw_os_error() {
        Some(libc::ENOSYS) => true,
        Some(libc::EPERM) => presence(call) != Presence::There,
        _ => false,
    }
}

/// The error that every refusal of a call itself becomes.
pub(super) fn as_enosys(source: io::Error, call: libc::c_long) -> io::Error {
    match is_missing(&source, call) {
        true => io::Error::from_raw_os_error(libc::ENOSYS),
        false => source,
    }
}

/// What is known of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    There,
    Missing,
    /// A filter answers for it; or it asks for a right before it looks at its arguments.
    Refused,
}

/// Asked for nonsense, a kernel that has the call finds fault with the nonsense. (`fsopen`, `fsmount` and `move_mount` look for
/// the right to mount first: whoever has it not is refused.)
pub fn presence(call: libc::c_long) -> Presence {
    const NONSENSE: libc::c_long = -1;
    // SAFETY: no pointer, descriptor, size or flag that is -1 is a valid one: nothing is read, written, made or closed.
    let result = unsafe { libc::syscall(call, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE, NONSENSE) };
    let source = io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::ENOSYS) if result == -1 => Presence::Missing,
        Some(libc::EPERM) if result == -1 => Presence::Refused,
        _ => Presence::There,
    }
}
