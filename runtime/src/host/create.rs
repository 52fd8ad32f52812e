//! From a plan to a container that waits to be started.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use super::spawn::{Birth, Early, Placed, Spawned, spawn};
use super::{
    cgroup, console, ids, in_place, limits, net_devices, network, proc, rdt, seccomp_agent, sources, undo,
};
use crate::error::{Error, Kind};
use crate::init::hooks::{self, Moment, State, Unset};
use crate::init::{self, Host, Kit, Ready, streams};
use crate::plan::Plan;
use crate::plan::cgroup::Version;
use crate::plan::namespaces::Namespaces;
use crate::state::{self, Entry, FIFO, Record};
use crate::wire::{self, Expected, FromInit, HostEnd, InitEnd};

/// How the container will be told to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// By `start`, at the fifo.
    Later,
    /// By this process.
    Now,
}

/// What is to be created.
pub struct Order<'a> {
    pub plan: &'a Plan,
    pub entry: &'a Entry,
    pub start: Start,
    pub ignored_signals: u64,
    pub state: State,
    /// The group that the plan asks for, as it was found.
    pub rdt: Option<state::Rdt>,
    /// Where the terminal's master goes; None keeps it.
    pub console: Option<&'a Path>,
    /// Writes down what will be on record, while init is at work. None where init has ended already.
    pub draft: &'a dyn Fn(i32, state::Cgroup) -> Result<Option<Record>, Error>,
    pub warn: &'a dyn Fn(&str),
}

/// A container whose init waits for `wire.go()`.
#[derive(Debug)]
pub struct Alive {
    pub init: Spawned,
    pub wire: HostEnd,
    pub cgroup: cgroup::Made,
    pub terminal: Option<OwnedFd>,
    /// The host's /proc; with the others it goes at the end of the process.
    pub proc: OwnedFd,
}

/// Makes cgroup and init, in this order; when anything fails, both are gone again. The record is a draft still.
pub fn create(order: &Order<'_>) -> Result<(Alive, Record), Error> {
    // What init keeps is opened before the rest, whose numbers it then closes in one call.
    let proc = proc::open_proc()?;
    let start = fifo(order)?;
    let wire = wire::pair()?;
    let cgroup = cgroup::make(&order.plan.cgroup)?;
    if cgroup.record().dirs.is_empty() && !order.plan.namespaces.has(libc::CLONE_NEWPID) {
        let nobody = "without a cgroup and a pid namespace of the container's own its processes cannot all be found and killed";
        (order.warn)(&format!("{nobody}. Such configuration is strongly discouraged"));
    }
    let made = match (&order.plan.rdt, &order.rdt) {
        (Some(planned), Some(group)) => rdt::make(planned, group),
        _ => Ok(()),
    };
    match made.and_then(|()| with_cgroup(order, &cgroup, (&proc, start, wire))) {
        Ok((init, wire, (terminal, record))) => Ok((Alive { init, wire, cgroup, terminal, proc }, record)),
        Err(error) => {
            undo_groups(&cgroup, order.rdt.as_ref());
            Err(error)
        }
    }
}

/// When creation fails: the error that there is says why, and not what could not be taken back.
pub fn undo_groups(cgroup: &cgroup::Made, rdt: Option<&state::Rdt>) {
    cgroup.undo();
    if let Some(group) = rdt {
        drop(rdt::remove(group));
    }
}

/// What the host keeps on its side of the clone.
struct Ours<'a> {
    wire: HostEnd,
    proc: &'a OwnedFd,
    idmaps: Vec<Option<OwnedFd>>,
}

/// The terminal's master if it stays here, and the draft of the record.
type Kept = (Option<OwnedFd>, Record);

type Parts = (Spawned, HostEnd, Kept);

type Opened<'a> = (&'a OwnedFd, Option<OwnedFd>, (HostEnd, InitEnd));

/// The user of the container's process as root has him, where that is another and his streams are no terminal.
fn mapped_user(plan: &Plan) -> Option<u32> {
    let ids = plan.ids.as_ref().filter(|_| plan.process.terminal.is_none() && geteuid().is_root())?;
    ids.users.outside(plan.process.user.uid)
}

fn with_cgroup(
    order: &Order<'_>,
    cgroup: &cgroup::Made,
    (proc, start, (host_end, init_end)): Opened<'_>,
) -> Result<Parts, Error> {
    let plan = order.plan;
    if let Some(uid) = mapped_user(plan) {
        // Out here, where their owner is known: in the user namespace he has no number.
        streams::give_pipes_to(uid)?;
    }
    let opened = sources::open(plan, proc)?;
    let ours = Ours { wire: host_end, proc, idmaps: sources::kept(plan, &opened)? };
    let mut kit = Kit {
        wire: init_end,
        proc,
        lock: order.entry.dir(),
        start,
        sources: opened,
        joins: joins(&plan.namespaces.join_inside)?,
        host: work(plan),
        ready: ready(order),
        ignored_signals: order.ignored_signals,
        state: order.state.clone(),
    };
    network::refuse_the_hosts(&plan.sysctls, proc, &kit.joins)?;
    let below = in_place::look(&plan.rootfs);
    let before = joins(&plan.namespaces.join_before)?;
    // From within another cgroup namespace the kernel finds only what is below that one's root.
    let is_elsewhere = before.iter().any(|(flag, _)| *flag == libc::CLONE_NEWCGROUP);
    let into = cgroup.clone_into().filter(|_| !is_elsewhere);
    let made = early(&plan.namespaces);
    let birth = Birth { flags: plan.namespaces.clone, cgroup: into, before, made, ..Birth::default() };
    // The parent's copy of what the closure owns, init's end of the wire above all, is closed with it.
    let init = spawn(&birth, move |placed| {
        if placed == Placed::Nowhere {
            kit.host = Host::HasWork;
        }
        init::run(plan, kit)
    })?;
    match attend(order, cgroup, &init, &ours) {
        Ok(kept) => Ok((init, ours.wire, kept)),
        Err(error) => {
            undo::end(&init);
            in_place::undo(&plan.rootfs, below.as_deref());
            Err(error)
        }
    }
}

/// Whether init needs something of us before it can go on.
fn work(plan: &Plan) -> Host {
    let v1 = plan.cgroup.places.iter().any(|place| place.version == Version::V1);
    match v1 || plan.ids.is_some() {
        true => Host::HasWork,
        false => Host::IsDone,
    }
}

/// `run` hears of whatever fails until execve, and can put the container on record while init does the rest. A listener has to be
/// handed over before, and limits to be set that only the host may set.
fn ready(order: &Order<'_>) -> Ready {
    let listener = order.plan.seccomp.as_ref().and_then(|program| program.listener.as_ref());
    match (order.start, listener) {
        (Start::Now, None) if !order.plan.process.is_limited_by_host() => Ready::Sealed,
        _ => Ready::Prepared,
    }
}

/// Opened here: a mapped root could not reach it, and init needs no path. For both, which does not wait for anybody.
fn fifo(order: &Order<'_>) -> Result<Option<OwnedFd>, Error> {
    if order.start == Start::Now {
        return Ok(None);
    }
    let dir = order.entry.dir();
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::unistd::mkfifoat(dir, FIFO, Mode::from_bits_truncate(0o600))
        .and_then(|()| openat(dir, FIFO, flags, Mode::empty()))
        .map(Some)
        .map_err(|errno| Error::system(format!("make a fifo in {}", order.entry.path().display()), errno))
}

fn early(namespaces: &Namespaces) -> Option<Early<'_>> {
    let early = Early { flags: namespaces.unshare_before, time_offsets: &namespaces.time_offsets };
    (early.flags != 0).then_some(early)
}

fn joins(planned: &[crate::plan::namespaces::Join]) -> Result<Vec<(i32, OwnedFd)>, Error> {
    let open = |join: &crate::plan::namespaces::Join| {
        let opened = open(&join.path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let opened = opened
            .map_err(|errno| Error::system(format!("open the namespace {}", join.path.display()), errno))?;
        Ok((join.flag, opened))
    };
    planned.iter().map(open).collect()
}

/// The host's part of creation, up to `Ready`.
fn attend(order: &Order<'_>, cgroup: &cgroup::Made, init: &Spawned, ours: &Ours<'_>) -> Result<Kept, Error> {
    let plan = order.plan;
    match init.placed {
        Placed::InCgroup | Placed::BesideInit => cgroup.attach(init.pid)?,
        Placed::Nowhere => cgroup.attach_everywhere(init.pid)?,
    }
    if let Some(group) = &order.rdt {
        rdt::enter(group, init.pid)?;
    }
    if let Some(ids) = &plan.ids {
        ids::write(ours.proc, init.pid, ids)?;
    }
    if work(plan) == Host::HasWork || init.placed == Placed::Nowhere {
        ours.wire.go()?;
    }
    if plan.namespaces.beside & libc::CLONE_NEWNET != 0 {
        // First of all, since init will wait for it.
        ours.wire.network(&network::make(ours.proc)?)?;
    }
    let record = (order.draft)(init.pid, cgroup.record())?;
    // Why init has ended it says itself.
    let terminal = talk(order, init, ours)?;
    Ok((terminal, record.ok_or_else(|| undo::ended_early(init))?))
}

fn talk(order: &Order<'_>, init: &Spawned, ours: &Ours<'_>) -> Result<Option<OwnedFd>, Error> {
    let wire = &ours.wire;
    let mut terminal = None;
    let mut expected = expected(order.plan);
    loop {
        let message = wire.receive()?;
        message.iter().try_for_each(|message| expected.take(message))?;
        match message {
            Some(FromInit::Ready) => return Ok(terminal),
            Some(FromInit::Failed(error)) => return Err(error),
            Some(FromInit::Warning(text)) => (order.warn)(&text),
            Some(FromInit::Unheard) => {}
            Some(FromInit::Entered) => {
                net_devices::give(&order.plan.net_devices, init)?;
                wire.go()?;
            }
            Some(FromInit::Mounted) => {
                run_hooks(order, init)?;
                wire.go()?;
            }
            Some(FromInit::Unmapped(at, mount)) => {
                sources::translate(order.plan, &ours.idmaps, (at, &mount))?;
                wire.go()?;
            }
            Some(FromInit::Terminal(master)) => match order.console {
                Some(socket) => console::send(socket, "/dev/ptmx", &master)?,
                None => {
                    console::adopt(&master)?;
                    terminal = Some(master);
                }
            },
            Some(FromInit::Unlimited) => {
                limits::set(init.pid, &order.plan.process.rlimits)?;
                wire.go()?;
            }
            Some(FromInit::Listener(listener)) => give_agent(order, init, &listener)?,
            Some(FromInit::ListenerAt(number)) => {
                give_agent(order, init, &seccomp_agent::take(&init.pidfd, number)?)?;
                wire.go()?;
            }
            None => return Err(undo::ended_early(init)),
        }
    }
}

fn give_agent(order: &Order<'_>, init: &Spawned, listener: &OwnedFd) -> Result<(), Error> {
    let pids = seccomp_agent::Pids { process: init.pid, init: init.pid };
    seccomp_agent::send(order.plan.seccomp.as_ref(), (&order.state, "creating"), pids, listener)
}

fn expected(plan: &Plan) -> Expected {
    Expected {
        entered: plan.gets_net_devices(),
        mounted: plan.waits_for_hooks(),
        terminal: plan.process.terminal.is_some(),
        unlimited: plan.process.is_limited_by_host(),
        listener: plan.seccomp.as_ref().is_some_and(|program| program.listener.is_some()),
        mapped: Vec::new(),
    }
}

fn run_hooks(order: &Order<'_>, init: &Spawned) -> Result<(), Error> {
    let all = &order.plan.hooks;
    for (hooks, name) in [(&all.prestart, "prestart"), (&all.create_runtime, "createRuntime")] {
        let state = &order.state;
        hooks::run(hooks, &Moment { name, status: "creating", pid: init.pid, state, unset: Unset::Callers })?;
    }
    Ok(())
}

/// Writes a pid where the caller asked for it: complete or not at all. What lies under the name before it is made by nobody but us: a
/// link there would have another file written.
pub fn write_pid(file: &Path, pid: i32) -> Result<(), Error> {
    let name = file.file_name().map(|name| format!(".{}", name.to_string_lossy()));
    let Some(name) = name else {
        return Err(Error::new(Kind::Invalid, format!("{} is not the name of a file", file.display())));
    };
    let new: PathBuf = file.with_file_name(name);
    let create = || OpenOptions::new().write(true).create_new(true).open(&new);
    let created = match create() {
        // One of ours that was killed; or a trap.
        Err(source) if source.kind() == ErrorKind::AlreadyExists => {
            std::fs::remove_file(&new).and_then(|()| create())
        }
        created => created,
    };
    let written = created
        .and_then(|mut created| created.write_all(pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&new, file));
    written.map_err(|source| Error::system(format!("write pid file {}", file.display()), source))
}
