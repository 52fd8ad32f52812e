//! A network namespace, made while init is at work; and the host's, whose parameters no container changes.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use crate::error::{Error, Kind};
use crate::plan::sysctl::Sysctl;
use crate::sys::ns;

/// This process is in it for that moment only.
pub fn make(proc: &OwnedFd) -> Result<OwnedFd, Error> {
    let own = current(proc)?;
    ns::unshare(libc::CLONE_NEWNET).map_err(|source| {
        let error = Error::system("make the network namespace", source);
        match error.errno() {
            Some(libc::ENOSPC) => error.hint("see the limits in /proc/sys/user"),
            _ => error,
        }
    })?;
    let made = current(proc);
    // In any case: hooks are run in the runtime's own.
    ns::enter(&own, libc::CLONE_NEWNET)
        .map_err(|source| Error::system("go back to the runtime's network namespace", source))?;
    // It goes with the others at the end of the process.
    std::mem::forget(own);
    made
}

/// A container that joins the runtime's own network namespace has the host's parameters: runc and we leave those alone.
pub fn refuse_the_hosts(sysctls: &[Sysctl], proc: &OwnedFd, joins: &[(i32, OwnedFd)]) -> Result<(), Error> {
    let Some(asked) = sysctls.iter().find(|sysctl| sysctl.file.starts_with("net")) else { return Ok(()) };
    let Some((_, joined)) = joins.iter().find(|(flag, _)| *flag == libc::CLONE_NEWNET) else { return Ok(()) };
    let which = |fd: &OwnedFd| fstat(fd).map(|found| (found.st_dev, found.st_ino));
    let (own, joined) = (which(&current(proc)?), which(joined));
    if own.is_err() || own != joined {
        return Ok(());
    }
    let name = asked.file.display();
    let text = format!(
        "config.json: linux.sysctl: {name} belongs to the host's network namespace, which the container joins"
    );
    Err(Error::new(Kind::Invalid, text))
}

fn current(proc: &OwnedFd) -> Result<OwnedFd, Error> {
    openat(proc, "self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open the network namespace", errno))
}
