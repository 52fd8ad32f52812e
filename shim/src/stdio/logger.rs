//! Logging programs: they read the container's output themselves, from descriptors 3 and 4, and say on 5 when they are ready.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use nix::unistd::Pid;

use super::target::Readiness;
use crate::error::{Doing, Error, Kind};
use crate::sys::child::{self, Io, Lifetime};
use crate::sys::fd;

pub(crate) struct Logger {
    pub(crate) pid: Pid,
    /// Readable when the program has said that it is ready, or is gone.
    pub(crate) ready: OwnedFd,
    readiness: Readiness,
}

/// Whose output it is, for the program's environment.
pub(crate) struct Subject<'a> {
    pub(crate) container: &'a str,
    pub(crate) namespace: &'a str,
}

pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) arguments: &'a [String],
    pub(crate) readiness: Readiness,
}

/// Starts the program on the reading ends of two pipes.
pub(crate) fn start(program: &Program, subject: &Subject, ends: [OwnedFd; 2]) -> Result<Logger, Error> {
    let doing = || format!("start the logging program {}", program.path.display());
    let ready = fd::pipe().doing(doing)?;
    fd::set_nonblocking(&ready.read).doing(doing)?;
    let mut command = Command::new(program.path);
    command.args(program.arguments);
    command.env("CONTAINER_ID", subject.container).env("CONTAINER_NAMESPACE", subject.namespace);
    let [stdout, stderr] = ends;
    let io = Io { extra: vec![stdout, stderr, ready.write], ..Io::default() };
    // On its own: it has to write what is still in the pipes when the shim is killed.
    let pid = child::spawn(command, io, Lifetime::Own).doing(doing)?;
    Ok(Logger { pid, ready: ready.read, readiness: program.readiness })
}

impl Logger {
    /// What the program said; nothing yet if `None`.
    pub(crate) fn answer(&self) -> Option<Result<(), Error>> {
        let mut byte = [0];
        let failed =
            |what: &str| Some(Err(Error::new(Kind::System, format!("wait for the logging program: {what}"))));
        match (fd::read(&self.ready, &mut byte), self.readiness) {
            (Ok(0), Readiness::Writes) => failed("it ended before it was ready"),
            (Ok(_), _) => Some(Ok(())),
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => None,
            (Err(error), _) => failed(&error.to_string()),
        }
    }
}
