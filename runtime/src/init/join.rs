//! The other entry: a further process in a container that exists (`exec`).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::{
    Around, Dumpable, Ends, Host, Prepared, console, fds, give_up_rights, keyring, leave, namespaces,
    own_session, pass_on, program, root, sched, signals, streams,
};
use crate::error::Error;
use crate::plan::Keyring;
use crate::plan::join::Joining;
use crate::wire::InitEnd;

/// What the host hands over.
#[derive(Debug)]
pub struct Kit<'a> {
    pub wire: InitEnd,
    /// The host's own /proc.
    pub proc: &'a OwnedFd,
    /// The container's init.
    pub target: OwnedFd,
    /// The container's root where no mount namespace leads there.
    pub root: Option<OwnedFd>,
    pub host: Host,
    pub ignored_signals: u64,
    pub keyring: Keyring,
}

/// Runs all steps in a process that the clone has just made, in the container's pid namespace and cgroup already.
pub fn run(planned: &Joining, kit: Kit<'_>) -> ! {
    leave(|| {
        let error = match prepare(planned, &kit) {
            Err(error) => error,
            Ok(ready) => match pass_on(planned.process.preserve_fds) {
                Err(error) => error,
                Ok(()) => program::start(&ready.program, &planned.process, &ready.env),
            },
        };
        kit.wire.failed(&error);
    })
}

fn prepare(planned: &Joining, kit: &Kit<'_>) -> Result<Prepared, Error> {
    let process = &planned.process;
    let mut keep = vec![kit.wire.as_fd().as_raw_fd(), kit.proc.as_raw_fd(), kit.target.as_raw_fd()];
    keep.extend(kit.root.iter().map(AsRawFd::as_raw_fd));
    // First of all, as for init: here hostile processes are in the same pid namespace already.
    fds::close_foreign(kit.proc, process.preserve_fds, &mut keep)?;
    own_session()?;
    signals::reset(kit.ignored_signals)?;
    if kit.host == Host::HasWork {
        kit.wire.wait()?;
    }
    // All at once: the kernel checks the rights for each with those held before, and takes all or none.
    if planned.inside != 0 {
        namespaces::enter_process(kit.proc, &kit.target, planned.inside)
            .map_err(|source| Error::system("join the namespaces of the container", source))?;
    }
    if (planned.before | planned.inside) & libc::CLONE_NEWUSER != 0 {
        namespaces::become_root()?;
    }
    keyring::join(&kit.keyring)?;
    if let Some(root) = &kit.root {
        root::change_root(root).map_err(|source| Error::system("enter the container's root", source))?;
    }
    // The mount namespace was entered, and with it its root.
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open the container's root", errno))?;
    if let Some(terminal) = process.terminal {
        let peer = console::open(terminal, &root, &kit.wire)?;
        console::take(&peer, &process.user)?;
    } else {
        streams::give_to(process.user.uid)?;
    }
    match &planned.cpus {
        Some(cpus) => sched::set_affinity(0, cpus)?,
        None if planned.cpus_first.is_none() => sched::reset_affinity(),
        None => {}
    }
    let keep = vec![kit.wire.as_fd().as_raw_fd()];
    let (dumpable, ends) = (Dumpable::No, Ends::ByItself);
    let around = Around { proc: kit.proc, root: &root, wire: &kit.wire, keep, dumpable, ends };
    let ready = give_up_rights(process, planned.seccomp.as_ref(), around);
    fds::leave(root);
    ready
}
