//! The command line: runc's verbs, flags, output and exit codes.
//!
//! Invariant: this room parses and prints and decides which steps are taken; the steps are in the rooms below it.

mod checkpoint;
mod create;
mod delete;
mod doctor;
mod events;
mod exec;
mod features;
mod global;
mod kill;
mod list;
mod log;
mod mounts;
mod notify;
mod parse;
mod pause;
mod plan;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Error;

pub use global::Global;
pub use log::Log;

/// Runs one command, reports its error, and says with what the program ends.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let asked = match parse::split(words) {
        Ok(asked) => asked,
        Err(end) => return end.tell(&Log::default()),
    };
    let log = asked.global.log.clone();
    match verbs::run(asked) {
        Ok(code) => code,
        Err(end) => end.tell(&log),
    }
}

/// How a command ends that does not simply succeed.
#[derive(Debug)]
pub enum End {
    /// Help or a version was asked for.
    Print(String),
    /// Wrong usage, with what is said about it before the error itself.
    Usage(String, Error),
    /// There is no such verb: an exit code of its own, as runc has it.
    NoTopic(Error),
    Failed(Error),
    /// `exec` has an exit code of its own for what cannot be run.
    FailedWith(u8, Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl End {
    fn tell(self, log: &Log) -> ExitCode {
        match self {
            Self::Print(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Self::Usage(usage, error) => {
                use std::io::Write;
                drop(std::io::stderr().write_all(usage.as_bytes()));
                log.error(&error);
                ExitCode::FAILURE
            }
            Self::NoTopic(error) => {
                log.error(&error);
                ExitCode::from(3)
            }
            Self::Failed(error) => {
                log.error(&error);
                ExitCode::FAILURE
            }
            Self::FailedWith(code, error) => {
                log.error(&error);
                ExitCode::from(code)
            }
        }
    }
}

/// Writes to standard output; a reader that has gone away is not an error of ours.
pub(crate) fn print(text: &str) {
    drop(write(text));
}

/// The same for who goes on writing, and has to know.
fn write(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
