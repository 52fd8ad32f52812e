//! Init's way into its namespaces, as far as the clone has not brought it there.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::prctl;
use nix::sys::stat::Mode;

use super::procfs;
use crate::error::Error;
use crate::plan::namespaces::Namespaces;
use crate::sys::{ns, pidfd, process};

/// Root of the user namespace, so that what is made belongs to somebody there. Without a mapping of 0 nothing changes.
pub fn become_root() -> Result<(), Error> {
    let unmapped = |source: &std::io::Error| source.raw_os_error() == Some(libc::EINVAL);
    match process::set_gid(0).and_then(|()| process::set_uid(0)) {
        Err(source) if !unmapped(&source) => Err(Error::system("become root of the user namespace", source)),
        _ => stay_undumpable(),
    }
}

/// A change of user makes a process as dumpable as fs.suid_dumpable says, which where cores are collected may be wholly.
pub fn stay_undumpable() -> Result<(), Error> {
    prctl::set_dumpable(false).map_err(|errno| Error::system("stay undumpable", errno))
}

/// Those of other containers.
pub fn join(joins: &[(i32, OwnedFd)]) -> Result<(), Error> {
    for (flag, namespace) in joins {
        ns::enter(namespace, *flag)
            .map_err(|source| Error::system(format!("join the {} namespace", name(*flag)), source))?;
    }
    Ok(())
}

/// The namespaces of a process, by its descriptor; where the kernel takes none for that (before Linux 5.8), one after the other by
/// their files below the host's /proc. The one of users comes first, and with it the rights to the others.
pub fn enter_process(proc: &OwnedFd, process: &OwnedFd, flags: i32) -> std::io::Result<()> {
    match ns::enter(process, flags) {
        Err(source) if source.raw_os_error() == Some(libc::EINVAL) => {}
        other => return other,
    }
    let record = procfs::read(proc, Path::new(&format!("self/fdinfo/{}", process.as_raw_fd())))?;
    let pid = record.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    let pid = pid.ok_or_else(|| std::io::Error::from_raw_os_error(libc::EINVAL))?;
    let mut files = Vec::new();
    for (flag, file) in FILES.into_iter().filter(|(flag, _)| flags & flag != 0) {
        let path = PathBuf::from(format!("{pid}/ns/{file}"));
        files.push((flag, openat(proc, &path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?));
    }
    // Until here they were those of whoever had the number; that it is alive tells who had it.
    pidfd::signal(process, 0)?;
    files.iter().try_for_each(|(flag, file)| ns::enter(file, *flag))
}

const FILES: [(i32, &str); 8] = [
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWCGROUP, "cgroup"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWNET, "net"),
    (libc::CLONE_NEWPID, "pid"),
    (libc::CLONE_NEWTIME, "time"),
    (libc::CLONE_NEWNS, "mnt"),
];

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
