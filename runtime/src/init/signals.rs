//! Signals as a program expects them.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::error::Error;
use crate::sys::{process, signal};

/// What the runtime's caller had ignored (a bit for each signal, from 1), and what Rust's own start-up ignores, is not ignored by
/// the container.
pub fn reset(ignored: u64) -> Result<(), Error> {
    // 32 and 33 are the C library's own: glibc's posix_spawn leaves them ignored in the child, and its sigaction refuses them.
    let ours = |signal: &i32| !matches!(signal, 32 | 33) && ignored >> (signal - 1) & 1 == 1;
    for signal in (1..=64).filter(ours) {
        process::default_signal(signal)
            .map_err(|source| Error::system(format!("reset signal {signal}"), source))?;
    }
    Ok(())
}

/// While init waits for `start` it can be told to end, as runc's can: for the first process of a pid namespace the kernel drops
/// whatever has no handler.
pub fn end_when_told() -> Result<(), Error> {
    let mut told = SigSet::empty();
    for number in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        signal::end_on(number).map_err(|source| Error::system(format!("handle {number}"), source))?;
        told.add(number);
    }
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&told), None)
        .map_err(|errno| Error::system("unblock signals", errno))
}

/// The host blocked what it waits for; last, so that nothing ends init half-way by surprise.
pub fn unblock() -> Result<(), Error> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|errno| Error::system("unblock signals", errno))
}
