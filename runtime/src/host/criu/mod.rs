//! Checkpoints: a running container as images on disk, and back, by the program criu(8).
//!
//! CRIU is talked to over its service's socket rather than by its command line: only there it says at which moments hooks can
//! run and what the restored process' pid is, and hands over a restored terminal.
//!
//! Invariant: a restore that fails leaves neither process, cgroup, mount nor name; a dump that fails leaves the container as it was.

mod dump;
mod fields;
mod log;
pub mod message;
mod mountpoints;
mod place;
mod restore;
mod service;

use std::path::Path;

use crate::error::{Error, Kind};

pub use dump::{Dump, dump};
pub use place::make;
pub use restore::{Restore, Restored, restore};

/// Of CRIU: two digits for each part of its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(i32);

/// The first that tells its version over the socket.
const LEAST: Version = Version(3_00_00);
/// The first that sets another profile than the dumped one.
const LSM: Version = Version(3_16_00);
/// The first that puts restored processes into a time namespace.
const TIME: Version = Version(3_14_00);

/// Namespaces that CRIU leaves to others: flag, its file in /proc/PID/ns, the name by which it is found again, the first release.
const EXTERNAL: [(i32, &str, &str, Version); 2] = [
    (libc::CLONE_NEWNET, "net", "extRootNetNS", Version(3_11_00)),
    (libc::CLONE_NEWPID, "pid", "extRootPidNS", Version(3_15_00)),
];

impl Version {
    fn ask(ignored_signals: u64) -> Result<Self, Error> {
        service::version(ignored_signals).map(Self)
    }

    fn at_least(self, least: Self) -> Result<(), Error> {
        match self >= least {
            true => Ok(()),
            false => {
                let text = format!("CRIU version {} must be {} or higher", self.0, least.0);
                Err(Error::new(Kind::Unsupported, text))
            }
        }
    }
}

/// CRIU's reasons are in its log only.
fn quote_on_error<T>(result: Result<T, Error>, log: &Path, warn: &dyn Fn(&str)) -> Result<T, Error> {
    result.map_err(|error| {
        log::quote(log).iter().for_each(|line| warn(line));
        match error.hint_text() {
            None if log.exists() => error.hint(format!("see {}", log.display())),
            _ => error,
        }
    })
}
