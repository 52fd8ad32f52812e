//! Waiting for signals that are blocked.

use std::io;

use nix::sys::signal::SigSet;

use super::check;

/// Blocks until one of the set is pending; gives its number.
pub fn wait(set: &SigSet) -> io::Result<i32> {
    loop {
        let null = std::ptr::null_mut::<libc::siginfo_t>();
        // SAFETY: the set is borrowed for the call, and a null siginfo is not written to.
        match check(unsafe { libc::sigwaitinfo(std::ptr::from_ref(set.as_ref()), null) }.into()) {
            Ok(number) => return i32::try_from(number).map_err(io::Error::other),
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(source),
        }
    }
}
