//! Logging programs: they read the container's output themselves, from descriptors 3 and 4, and say on 5 when they are ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use nix::unistd::Pid;

use super::target::Readiness;
use crate::error::{Doing, Error, Kind};
use crate::sys::child::{self, Io, Lifetime};
use crate::sys::fd;

/// What tells that a logging program is ready, or is gone.
pub(crate) struct Word {
    from: OwnedFd,
    readiness: Readiness,
}

/// Whose output it is: all that the program's environment says. containerd's own may hold what is not for it.
pub(crate) struct Subject<'a> {
    /// A container's id, or an exec's.
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
}

pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) arguments: &'a [String],
    pub(crate) readiness: Readiness,
}

/// Starts the program on the reading ends of two pipes.
pub(crate) fn start(program: &Program, subject: &Subject, ends: [OwnedFd; 2]) -> Result<(Pid, Word), Error> {
    let doing = || format!("start the logging program {}", program.path.display());
    let ready = fd::pipe().doing(doing)?;
    fd::set_nonblocking(&ready.read).doing(doing)?;
    let mut command = Command::new(program.path);
    command.args(program.arguments);
    command.env_clear().env("CONTAINER_ID", subject.id).env("CONTAINER_NAMESPACE", subject.namespace);
    let [stdout, stderr] = ends;
    let io = Io { extra: vec![stdout, stderr, ready.write], ..Io::default() };
    // On its own: it has to write what is still in the pipes when the shim is killed.
    let pid = child::spawn(command, io, Lifetime::Own).doing(doing)?;
    Ok((pid, Word { from: ready.read, readiness: program.readiness }))
}

impl Word {
    /// Whether the program is ready; to be asked no more when it is.
    pub(crate) fn is_given(&self) -> Result<bool, Error> {
        let mut byte = [0];
        let failed =
            |what: &str| Err(Error::new(Kind::System, format!("wait for the logging program: {what}")));
        match (fd::read(&self.from, &mut byte), self.readiness) {
            (Ok(0), Readiness::Writes) => failed("it ended before it was ready"),
            (Ok(_), _) => Ok(true),
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            (Err(error), _) => failed(&error.to_string()),
        }
    }
}

impl AsFd for Word {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}
