//! The host's own /proc.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::error::{Error, Kind};

/// Opened once and looked at; everything below /proc that decides about the container goes through it.
pub fn open_proc() -> Result<OwnedFd, Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = open("/proc", flags, Mode::empty()).map_err(|errno| Error::system("open /proc", errno))?;
    match fstatfs(&proc) {
        Ok(found) if found.filesystem_type() == PROC_SUPER_MAGIC => Ok(proc),
        Ok(_) => Err(Error::new(Kind::Unsupported, "open /proc: no proc file system is mounted there")),
        Err(errno) => Err(Error::system("look at /proc", errno)),
    }
}

/// What our standard streams are, which a container without a terminal has too.
pub fn own_streams() -> Vec<String> {
    let name = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
    (0..3)
        .map(|number| name(number).map(|link| link.to_string_lossy().into_owned()).unwrap_or_default())
        .collect()
}
