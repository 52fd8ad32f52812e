//! Starts helpers and hooks, by the C library's spawn.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

use super::missing::{Presence, presence};

/// Starts it. The C library does without clone3 where a kernel answers ENOSYS, and not where a filter answers EPERM: then the
/// program is started by fork, which never makes that call.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    match command.spawn() {
        Err(source)
            if source.raw_os_error() == Some(libc::EPERM)
                && presence(libc::SYS_clone3) == Presence::Refused =>
        {
            // SAFETY: the closure does nothing; that there is one makes the standard library fork.
            unsafe { command.pre_exec(|| Ok(())) };
            command.spawn()
        }
        other => other,
    }
}

/// Runs it to its end, with nothing on its standard input: what it wrote, and its status.
pub fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command)?.wait_with_output()
}
