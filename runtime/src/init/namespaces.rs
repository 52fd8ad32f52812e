//! Init's way into its namespaces, as far as the clone has not brought it there.

use std::os::fd::OwnedFd;

use crate::error::Error;
use crate::plan::namespaces::Namespaces;
use crate::sys::{ns, process};

/// Root of the user namespace, so that what is made belongs to somebody there. Without a mapping of 0 nothing changes.
pub fn become_root() -> Result<(), Error> {
    let unmapped = |source: &std::io::Error| source.raw_os_error() == Some(libc::EINVAL);
    match process::set_gid(0).and_then(|()| process::set_uid(0)) {
        Err(source) if !unmapped(&source) => Err(Error::system("become root of the user namespace", source)),
        _ => Ok(()),
    }
}

/// Those of other containers.
pub fn join(joins: &[(i32, OwnedFd)]) -> Result<(), Error> {
    for (flag, namespace) in joins {
        ns::enter(namespace, *flag)
            .map_err(|source| Error::system(format!("join the {} namespace", name(*flag)), source))?;
    }
    Ok(())
}

/// Those that have to be made from inside.
pub fn unshare(namespaces: &Namespaces) -> Result<(), Error> {
    match namespaces.unshare_inside {
        0 => Ok(()),
        flags => {
            ns::unshare(flags).map_err(|source| Error::system("make the cgroup or time namespace", source))
        }
    }
}

/// The kind's name in the configuration; several at once are those that `exec` enters first.
pub fn name(flag: i32) -> &'static str {
    match flag {
        libc::CLONE_NEWNS => "mount",
        libc::CLONE_NEWCGROUP => "cgroup",
        libc::CLONE_NEWUTS => "uts",
        libc::CLONE_NEWIPC => "ipc",
        libc::CLONE_NEWUSER => "user",
        libc::CLONE_NEWPID => "pid",
        libc::CLONE_NEWNET => "network",
        libc::CLONE_NEWTIME => "time",
        _ => "container's user and pid",
    }
}
