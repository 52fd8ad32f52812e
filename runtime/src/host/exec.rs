//! A further process in a container.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::cgroup::Beside;
use super::spawn::{Birth, Placed, Spawned, spawn};
use super::{cgroup, console, hooks, limits, proc, rdt, reach, seccomp_agent, undo};
use crate::error::{Error, Kind};
use crate::init::join::{self, Kit};
use crate::init::namespaces::enter_process;
use crate::init::{Host, procfs, sched};
use crate::plan::Keyring;
use crate::plan::join::{Joining, Root};
use crate::state::{self, Record};
use crate::wire::{self, Expected, FromInit, Heard, HostEnd};

/// What is to be started.
pub struct Order<'a> {
    pub plan: &'a Joining,
    pub record: &'a Record,
    pub place: &'a Place,
    pub ignored_signals: u64,
    pub keyring: Keyring,
    /// Where the terminal's master goes; None keeps it.
    pub console: Option<&'a Path>,
    pub warn: &'a dyn Fn(&str),
}

/// Where among the container's cgroups it goes.
#[derive(Debug)]
pub enum Place {
    /// Into the container's, or beside its init where that one holds no processes itself.
    Container(state::Cgroup),
    /// Into a part of it that was asked for, and nowhere else.
    Part(state::Cgroup),
}

impl Place {
    fn cgroup(&self) -> &state::Cgroup {
        match self {
            Self::Container(cgroup) | Self::Part(cgroup) => cgroup,
        }
    }

    fn beside(&self, init: i32) -> Option<Beside<'_>> {
        match self {
            Self::Container(cgroup) => cgroup::beside(cgroup, init),
            Self::Part(_) => None,
        }
    }
}

/// Starts it beside `target`; returns when execve has succeeded, with the terminal's master if it stays here.
pub fn start(order: &Order<'_>, target: OwnedFd) -> Result<(Spawned, Option<OwnedFd>), Error> {
    let plan = order.plan;
    // What the child keeps is opened before the rest, whose numbers it then closes in one call.
    let proc = proc::open_proc()?;
    let (host_end, init_end) = wire::pair()?;
    let cgroup = cgroup_of(order).map_err(|error| not_in(&error))?;
    prepare(order, &proc)?;
    let v1 = order.place.cgroup().dirs.iter().any(|dir| dir.version == 1);
    let host = if v1 || order.record.rdt.is_some() { Host::HasWork } else { Host::IsDone };
    let beside = order.place.beside(order.record.init.pid);
    let mut birth = Birth { cgroup: cgroup.clone_into(), beside, ..Birth::default() };
    if plan.before & libc::CLONE_NEWUSER != 0 {
        birth.before.push((plan.before, duplicate(&target)?));
    } else if plan.before != 0 {
        // It changes nothing for ourselves, only for our one child.
        enter_process(&proc, &target, plan.before)
            .map_err(|source| Error::system("join the pid namespace of the container", source))?;
    }
    let mut kit = Kit {
        wire: init_end,
        proc: &proc,
        target,
        root: root(order)?,
        host,
        ignored_signals: order.ignored_signals,
        keyring: order.keyring.clone(),
    };
    let child = spawn(&birth, move |placed| {
        if placed == Placed::Nowhere {
            kit.host = Host::HasWork;
        }
        join::run(plan, kit)
    })
    .map_err(|error| match error.errno() {
        // The clone itself enters the cgroup.
        Some(libc::EBUSY) => not_in(&error),
        _ => error,
    })?;
    let attended = attend(order, &cgroup, &child, (&host_end, host));
    // Nobody needs them any more; with the others they go at the end of the process, which is the child's or comes before it.
    std::mem::forget((proc, host_end, cgroup));
    match attended {
        Ok(terminal) => Ok((child, terminal)),
        Err(error) => {
            undo::end(&child);
            Err(error)
        }
    }
}

/// The container's init, by which its namespaces are entered.
pub fn target(record: &Record) -> Result<OwnedFd, Error> {
    let gone = || Error::new(Kind::Invalid, "cannot exec in a stopped container");
    let target = reach::open(record.init.pid)?.ok_or_else(gone)?;
    // Checked after opening: the descriptor means this process and no later one of the same number.
    match record.init.is_alive() {
        true => Ok(target),
        false => Err(gone()),
    }
}

/// The container's cgroup, or that of an init which has left it behind.
fn cgroup_of(order: &Order<'_>) -> Result<cgroup::Made, Error> {
    let opened = cgroup::open(order.place.cgroup());
    let (Err(error), Place::Container(own)) = (&opened, order.place) else { return opened };
    let init = order.record.init;
    let followed = match error.errno() {
        Some(libc::ENOENT) => cgroup::followed(own, init.pid),
        _ => None,
    };
    // What was read is still that process' and not a later one's.
    match followed.filter(|_| init.is_alive()) {
        Some(other) => cgroup::open(&other),
        None => opened,
    }
}

fn not_in(error: &Error) -> Error {
    Error::new(error.kind(), format!("exec: error adding pid of a new process to cgroups: {error}"))
}

/// Where no mount namespace leads there: what lies over the directory.
fn root(order: &Order<'_>) -> Result<Option<OwnedFd>, Error> {
    if order.plan.root == Root::OfNamespace {
        return Ok(None);
    }
    let path = &order.record.rootfs;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(path, flags, Mode::empty());
    opened
        .map(Some)
        .map_err(|errno| Error::system(format!("open the container's root {}", path.display()), errno))
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    fd.try_clone().map_err(|source| Error::system("duplicate a descriptor", source))
}

/// On ourselves, for the child to inherit: it may not be dumpable for a moment among the container's processes, and an undumpable
/// one's files below /proc are root's.
fn prepare(order: &Order<'_>, proc: &OwnedFd) -> Result<(), Error> {
    if let Some(score) = order.plan.process.oom_score
        && let Some(warning) = procfs::set_oom_score(proc, score)?
    {
        (order.warn)(&warning);
    }
    if let Some(cpus) = &order.plan.cpus_first {
        sched::set_affinity(0, cpus)?;
    }
    nix::sys::prctl::set_dumpable(false).map_err(|errno| Error::system("become undumpable", errno))
}

/// By the rule of the clone that could not be had.
fn attach_everywhere(order: &Order<'_>, cgroup: &cgroup::Made, pid: i32) -> Result<(), Error> {
    match (cgroup.attach_everywhere(pid), order.place.beside(order.record.init.pid)) {
        (Err(error), Some(beside)) if error.errno() == Some(libc::EBUSY) => {
            beside.attach(pid).and_then(|()| cgroup.attach(pid))
        }
        (attached, _) => attached,
    }
}

fn attend(
    order: &Order<'_>,
    cgroup: &cgroup::Made,
    child: &Spawned,
    (wire, host): (&HostEnd, Host),
) -> Result<Option<OwnedFd>, Error> {
    match child.placed {
        Placed::InCgroup | Placed::BesideInit => cgroup.attach(child.pid),
        Placed::Nowhere => attach_everywhere(order, cgroup, child.pid),
    }
    .map_err(|error| not_in(&error))?;
    if let Some(group) = &order.record.rdt {
        rdt::enter(group, child.pid)?;
    }
    let mut heard = match host == Host::HasWork || child.placed == Placed::Nowhere {
        true => wire.go()?,
        false => Heard::Perhaps,
    };
    let mut terminal = None;
    let mut expected = Expected {
        terminal: order.plan.process.terminal.is_some(),
        unlimited: order.plan.process.is_limited_by_host(),
        listener: order.plan.seccomp.as_ref().is_some_and(|program| program.listener.is_some()),
        ..Expected::default()
    };
    loop {
        let message = wire.receive()?;
        message.iter().try_for_each(|message| expected.take(message))?;
        match message {
            None if heard == Heard::Never => {
                return Err(Error::new(
                    Kind::System,
                    "start the process: it has ended before its program began",
                ));
            }
            None => return Ok(terminal),
            Some(FromInit::Unheard) => heard = Heard::Never,
            Some(FromInit::Failed(error)) => return Err(error),
            Some(FromInit::Warning(text)) => (order.warn)(&text),
            Some(FromInit::Terminal(master)) => match order.console {
                Some(socket) => console::send(socket, "/dev/ptmx", &master)?,
                None => {
                    console::adopt(&master)?;
                    terminal = Some(master);
                }
            },
            Some(FromInit::Unlimited) => {
                limits::set(child.pid, &order.plan.process.rlimits)?;
                heard = wire.go()?;
            }
            Some(FromInit::Listener(listener)) => give_agent(order, child, &listener)?,
            Some(FromInit::ListenerAt(number)) => {
                give_agent(order, child, &seccomp_agent::take(&child.pidfd, number)?)?;
                heard = wire.go()?;
            }
            Some(message) => {
                return Err(Error::new(Kind::System, format!("start the process: unexpected {message:?}")));
            }
        }
    }
}

fn give_agent(order: &Order<'_>, child: &Spawned, listener: &OwnedFd) -> Result<(), Error> {
    let state = hooks::state_of(order.record);
    let pids = seccomp_agent::Pids { process: child.pid, init: order.record.init.pid };
    seccomp_agent::send(order.plan.seccomp.as_ref(), (&state, "running"), pids, listener)
}
