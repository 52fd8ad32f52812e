//! Waiting for signals that are blocked, and ending on some.

use std::io;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::{check, clone};

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

/// Lets a signal end this process, until execve, also where it is the first of a pid namespace: there the default has no effect
/// (pid_namespaces(7)).
pub fn end_on(signal: Signal) -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler makes one system call, and does not come back.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

extern "C" fn end(signal: libc::c_int) {
    clone::exit(signal.saturating_add(128))
}
