//! When creation fails half-way.

use super::spawn::Spawned;
use crate::error::{Error, Kind};
use crate::sys::pidfd::{self, Exit};

/// Ends a child of ours and waits for it, so that its cgroup is empty.
pub fn end(child: &Spawned) {
    // It may have ended by itself, which is as good.
    drop(pidfd::signal_child(&child.pidfd, child.pid, libc::SIGKILL));
    drop(pidfd::wait(&child.pidfd));
}

/// What is to be said of a child that has closed the wire without a word.
pub fn ended_early(child: &Spawned) -> Error {
    let how = match pidfd::wait(&child.pidfd) {
        Ok(Exit::Signal(signal)) => format!("init was killed by signal {signal}"),
        Ok(Exit::Code(code)) => format!("init ended with code {code}"),
        Err(_) => "init has ended".to_owned(),
    };
    let error = Error::new(Kind::System, format!("create the container: {how}"));
    match how.ends_with("signal 9") {
        true => error.hint("a memory limit may be too low for the program to start"),
        false => error,
    }
}
