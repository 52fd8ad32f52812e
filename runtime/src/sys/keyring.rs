//! The session keyring.

use std::ffi::CStr;
use std::io;

use super::check;

/// Leaves the caller's session keyring for one of this name; gives its number.
pub fn join(name: &CStr) -> io::Result<i64> {
    let command = libc::c_long::from(libc::KEYCTL_JOIN_SESSION_KEYRING);
    // SAFETY: the name is NUL-terminated and only read.
    check(unsafe { libc::syscall(libc::SYS_keyctl, command, name.as_ptr()) })
}

const USER_ALL: u32 = 0x003f_0000;
const POSSESSOR_ALL: u32 = 0x3f00_0000;

/// Lets the owner's other processes in the container use the keyring too: they do not possess it.
pub fn open_to_owner(keyring: i64) -> io::Result<()> {
    let command = libc::c_long::from(libc::KEYCTL_SETPERM);
    let allowed = libc::c_long::from(USER_ALL | POSSESSOR_ALL);
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, command, keyring, allowed) }).map(drop)
}
