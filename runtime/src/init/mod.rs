//! The child, from the clone to execve: one step after the other, each carrying out its part of the plan.
//!
//! Invariant: nothing is decided here and nothing of the container is trusted: its paths are opened in its root, its /proc is
//! never used, and the first of its code runs when everything is sealed.

pub mod cgroup;
pub mod console;
pub mod copy_up;
pub mod devices;
pub mod fds;
pub mod flags;
pub mod fresh;
pub mod hooks;
pub mod join;
pub mod keyring;
pub mod masks;
pub mod mounts;
pub mod names;
pub mod namespaces;
pub mod network;
pub mod place;
pub mod procfs;
pub mod program;
pub mod rights;
pub mod root;
pub mod sched;
pub mod seccomp;
pub mod signals;
pub mod sources;
pub mod streams;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};

use crate::error::{Error, Kind};
use crate::plan::process::{NewPrivileges, Process};
use crate::plan::seccomp::Program;
use crate::plan::{Plan, Side, devices as planned};
use crate::sys;
use crate::wire::{self, InitEnd};
use sources::Sources;

/// What the host hands over: all descriptors that init needs, opened before the clone.
#[derive(Debug)]
pub struct Kit<'a> {
    pub wire: InitEnd,
    /// The host's own /proc.
    pub proc: &'a OwnedFd,
    /// The container's locked directory: whoever wants to remove what a killed runtime left waits until we have ended too, or, once
    /// others may look into this process, until nobody has the fifo open.
    pub lock: BorrowedFd<'a>,
    /// The fifo where `start` is heard and answered, open for both, so that reading waits for a writer; None for `run`, which says it
    /// over the wire.
    pub start: Option<OwnedFd>,
    pub sources: Sources,
    /// Namespaces to join from inside, with their clone flags.
    pub joins: Vec<(i32, OwnedFd)>,
    pub host: Host,
    pub ready: Ready,
    pub ignored_signals: u64,
    pub state: hooks::State,
}

/// Whether init has to wait until the host has done its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    IsDone,
    HasWork,
}

/// What has been done when the host may put the container on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The root is what it will be, so that others may come in. The host listens until execve, and both go on at the same time.
    Sealed,
    /// Everything but execve.
    Prepared,
}

/// Runs all steps in a process that the clone has just made. Whatever goes wrong is told over the wire, or through the fifo once
/// the host has gone.
pub fn run(plan: &Plan, mut kit: Kit<'_>) -> ! {
    leave(|| {
        let sources = std::mem::take(&mut kit.sources);
        let prepared = prepare(plan, &kit, sources);
        let prepared = prepared.and_then(|ready| await_record(&kit).map(|()| ready));
        let ready = match prepared {
            Ok(ready) => ready,
            Err(error) => return kit.wire.failed(&error),
        };
        if kit.start.is_none() && !plan.hooks.start_container.is_empty() {
            // Whoever waits for the lock waits for no hook; else execve is what follows, and lets go of it.
            let_go(kit.lock.as_raw_fd());
        }
        match kit.start.take() {
            None => {
                let error = begin(plan, &kit.state, &ready);
                kit.wire.failed(&error);
            }
            Some(start) => {
                // The host is gone, and a created container shows no descriptor that it does not need.
                drop(kit.wire);
                begin_later(plan, (&kit.state, &start), &ready);
            }
        }
    })
}

/// Closes this process' copy of a descriptor: the owner of the number is the parent's.
fn let_go(descriptor: RawFd) {
    let _ = nix::unistd::close(descriptor);
}

/// Waits for `start`, which hears what goes wrong afterwards.
fn begin_later(plan: &Plan, (state, fifo): (&hooks::State, &OwnedFd), ready: &Prepared) {
    let mut signal = [0; 1];
    if nix::unistd::read(fifo, &mut signal) == Ok(1) {
        let error = begin(plan, state, ready);
        // Best effort: `start` may have been killed meanwhile.
        let _ = nix::unistd::write(fifo, &wire::encode(&error));
    }
}

/// Ends the process without running the parent's destructors, which a panic's unwinding would reach too.
fn leave(steps: impl FnOnce()) -> ! {
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(steps)));
    sys::clone::exit(1)
}

/// What `begin` needs.
struct Prepared {
    program: CString,
    env: Vec<CString>,
}

fn prepare(plan: &Plan, kit: &Kit<'_>, sources: Sources) -> Result<Prepared, Error> {
    let process = &plan.process;
    // First of all: a leaked descriptor is a way out of any namespace (CVE-2016-9962).
    fds::close_foreign(kit.proc, process.preserve_fds, &mut descriptors(kit, &sources))?;
    // Whatever a step may wait for.
    die_with_host(Some(Signal::SIGKILL))?;
    // Before anything can fail in a way that a signal to the caller's session would hide.
    own_session()?;
    signals::reset(kit.ignored_signals)?;
    enter_namespaces(plan, kit)?;
    let root = mount_everything(plan, kit, sources)?;
    // Names, parameters and terminal once the namespaces are complete.
    names::set(plan)?;
    procfs::set_sysctls(kit.proc, &plan.sysctls)?;
    if kit.ready == Ready::Sealed {
        kit.wire.ready()?;
    }
    let dumpable = match kit.start {
        Some(_) => Dumpable::Without(kit.lock.as_raw_fd()),
        None => Dumpable::No,
    };
    let (keep, ends) = (needed(kit), Ends::WithHost);
    let around = Around { proc: kit.proc, root: &root, wire: &kit.wire, keep, dumpable, ends };
    let ready = give_up_rights(process, plan.seccomp.as_ref(), around);
    fds::leave(root);
    ready
}

/// SIGKILL when the runtime is killed; a change of user makes the kernel forget it.
fn die_with_host(signal: Option<Signal>) -> Result<(), Error> {
    prctl::set_pdeathsig(signal).map_err(|errno| Error::system("tie init to the runtime", errno))
}

fn set_dumpable(dumpable: bool) -> Result<(), Error> {
    prctl::set_dumpable(dumpable).map_err(|errno| Error::system("change whether init is dumpable", errno))
}

fn own_session() -> Result<(), Error> {
    nix::unistd::setsid().map(drop).map_err(|errno| Error::system("make a session", errno))
}

fn enter_namespaces(plan: &Plan, kit: &Kit<'_>) -> Result<(), Error> {
    if kit.host == Host::HasWork {
        // Mappings and v1 cgroups: before them no identity, and no root for the cgroup namespace.
        kit.wire.wait()?;
    }
    // In the cgroup, whose cpuset counts.
    sched::reset_affinity();
    // After the cgroup was entered, which is its root; offsets before anything runs in the time namespace.
    namespaces::unshare(&plan.namespaces)?;
    if plan.namespaces.unshare_inside & libc::CLONE_NEWTIME != 0 {
        procfs::set_time_offsets(kit.proc, &plan.namespaces.time_offsets)?;
    }
    if let Some(score) = plan.process.oom_score {
        // While the files below /proc/self are still ours: a change of user makes them root's.
        if let Some(warning) = procfs::set_oom_score(kit.proc, score)? {
            kit.wire.warn(&warning)?;
        }
    }
    if plan.namespaces.user_is_foreign() {
        // Before anything is made, for it to have an owner.
        namespaces::become_root()?;
        die_with_host(Some(Signal::SIGKILL))?;
    }
    namespaces::join(&kit.joins)?;
    keyring::join(&plan.keyring)?;
    // From here on processes of the container could be beside us: none of them may look into this one, through
    // /proc/PID/exe least of all (CVE-2019-5736).
    set_dumpable(false)?;
    if plan.namespaces.clone & libc::CLONE_NEWNET != 0 {
        names::raise_loopback()?;
    }
    if plan.gets_net_devices() {
        // From the host's network, once ours exists.
        kit.wire.entered()?;
        kit.wire.wait()?;
    }
    Ok(())
}

fn mount_everything(plan: &Plan, kit: &Kit<'_>, mut sources: Sources) -> Result<OwnedFd, Error> {
    // Modes are meant as they are written.
    let callers = umask(Mode::empty());
    root::set_propagation(&plan.rootfs)?;
    if plan.namespaces.makes(libc::CLONE_NEWNS) {
        // Nobody else is in this mount namespace: what an old kernel has to make in view is made here unseen.
        sys::staged::permit(kit.proc);
    }
    // Before the root is attached, which may end the propagation from the host.
    sources::open(plan, &mut sources)?;
    if plan.sources == Side::Host {
        sources.part(&plan.rootfs)?;
    }
    let root =
        sources.root.take().ok_or_else(|| Error::new(Kind::System, "open the root file system: lost"))?;
    let seen = if plan.shows_root_to_hooks() { root::Seen::ByHooks } else { root::Seen::ByNobody };
    let place = root::attach(&plan.rootfs, &root, plan.sources, seen)?;
    let late = {
        let (rootfs, sources, cgroups) = (&plan.rootfs, &mut sources, plan.cgroup.places.as_slice());
        let mapper = (plan.sources == Side::Host).then_some(&kit.wire);
        let proc = mounts::Proc::Hosts;
        let network = network::Network::of(&plan.namespaces, &kit.wire);
        let mut site =
            mounts::Site { root: &root, rootfs, sources, cgroups, newest: None, mapper, proc, network };
        mounts::attach_all(&plan.mounts, &mut site)?
    };
    // After the mounts, of which one is /dev.
    devices::make(&plan.devices, &root, &mut sources, kit.proc)?;
    if plan.waits_for_hooks() {
        // They may mount over what is mounted, and find sources in the host's tree.
        kit.wire.mounted()?;
        kit.wire.wait()?;
    }
    program::make_cwd(&root, &plan.process.cwd)?;
    if !plan.hooks.create_container.is_empty() {
        // They find the container's files by relative paths, as with runc.
        nix::unistd::fchdir(&root).map_err(|errno| Error::system("enter the root for the hooks", errno))?;
        umask(callers);
        hooks::run_here((&kit.state, &[]), &plan.hooks.create_container, ("createContainer", "creating"))?;
        umask(Mode::empty());
    }
    // After the hooks, which look for it where it was; all that follows counts on it over `/`.
    root::raise(&plan.rootfs, &root, place)?;
    // After the hooks, which may mount over something; before the host's /dev/null is out of reach.
    masks::apply(&plan.masks, &root)?;
    let peer = match plan.process.terminal {
        None => None,
        Some(terminal) => {
            let peer = console::open(terminal, &root, &kit.wire)?;
            console::bind_console(&peer, &root)?;
            Some(peer)
        }
    };
    root::enter(&plan.rootfs, &root)?;
    // Nothing has to be put inside any more.
    mounts::change_late(&late)?;
    root::seal(&plan.rootfs, &root)?;
    // The root is what it will be, and the limits on descriptors are still the runtime's.
    match peer {
        Some(peer) => console::take(&peer, &plan.process.user)?,
        None => streams::make_own(kit.proc, &root, (planned::null(plan), plan.process.user.uid))?,
    }
    sys::staged::end();
    Ok(root)
}

/// What the last steps use.
struct Around<'a> {
    proc: &'a OwnedFd,
    root: &'a OwnedFd,
    wire: &'a InitEnd,
    /// Of all descriptors only these are needed any more, beside the root.
    keep: Vec<RawFd>,
    dumpable: Dumpable,
    ends: Ends,
}

/// Whether `die_with_host` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    WithHost,
    ByItself,
}

/// Whether others may look into this process while it waits for `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dumpable {
    /// Its owner has to be able to join it, and setns(2) asks for the right to look into this process. So have then those that share
    /// its pid namespace: this descriptor, the last one of a directory of the host's, is closed before (CVE-2024-21626). What is
    /// left leads nowhere: the wire, and the fifo.
    Without(RawFd),
    No,
}

/// From root of the namespaces to the user; each right is given up after its last use.
fn give_up_rights(
    process: &Process,
    filter: Option<&Program>,
    around: Around<'_>,
) -> Result<Prepared, Error> {
    // Priorities and labels need rights that go with the user.
    sched::apply(process)?;
    procfs::set_exec_labels(around.proc, &process.labels)?;
    rights::forbid_new_privileges(process.new_privileges)?;
    let entered = program::enter_cwd(around.root, &process.cwd);
    let env = program::environment(process, around.root);
    let mut keep = around.keep;
    if entered.is_err() {
        // It will be tried again.
        keep.push(around.root.as_raw_fd());
    }
    // Before a filter may forbid it: mounts, directories, the host's proc.
    fds::close_foreign(around.proc, process.preserve_fds, &mut keep)?;
    rights::limit(process, around.wire)?;
    if let (Some(filter), NewPrivileges::Possible) = (filter, process.new_privileges) {
        // Without no_new_privs a filter is loaded by right of CAP_SYS_ADMIN, which goes with the next steps.
        seccomp::load(filter, around.wire)?;
    }
    rights::drop_bounding(&process.caps)?;
    rights::become_user(&process.user)?;
    rights::set_caps(&process.caps)?;
    program::enter_cwd_again(around.root, &process.cwd, entered)?;
    umask(Mode::from_bits_truncate(process.user.umask));
    // As the user, whose rights decide what can be executed.
    let program = program::find(process)?;
    if let Dumpable::Without(directory) = around.dumpable {
        let_go(directory);
        set_dumpable(true)?;
        signals::end_when_told()?;
    }
    if around.ends == Ends::WithHost {
        // The host ends by itself now and then; while we wait for its word, the end of file tells.
        die_with_host(None)?;
    }
    if let (Some(filter), NewPrivileges::Never) = (filter, process.new_privileges) {
        // As late as can be, so that it has to allow little for our own sake.
        seccomp::load(filter, around.wire)?;
    }
    Ok(Prepared { program, env })
}

/// Until the container is on record: a runtime that is killed before takes it along.
fn await_record(kit: &Kit<'_>) -> Result<(), Error> {
    if kit.ready == Ready::Prepared {
        kit.wire.ready()?;
    }
    kit.wire.wait()
}

/// What must not happen before the container is started; returns only with an error.
fn begin(plan: &Plan, state: &hooks::State, ready: &Prepared) -> Error {
    let moment = ("startContainer", "created");
    let begun = hooks::run_here((state, &ready.env), &plan.hooks.start_container, moment)
        .and_then(|()| pass_on(plan.process.preserve_fds));
    match begun {
        Ok(()) => program::start(&ready.program, &plan.process, &ready.env),
        Err(error) => error,
    }
}

/// The last before execve: what the program inherits.
fn pass_on(preserve_fds: u32) -> Result<(), Error> {
    fds::pass_preserved(preserve_fds)?;
    signals::unblock()
}

/// What outlives the preparation.
fn needed(kit: &Kit<'_>) -> Vec<RawFd> {
    let mut needed = vec![kit.wire.as_fd().as_raw_fd(), kit.lock.as_raw_fd()];
    needed.extend(kit.start.iter().map(AsRawFd::as_raw_fd));
    needed
}

fn descriptors(kit: &Kit<'_>, sources: &Sources) -> Vec<RawFd> {
    let mut all = vec![kit.wire.as_fd().as_raw_fd(), kit.proc.as_raw_fd(), kit.lock.as_raw_fd()];
    all.extend(kit.start.iter().map(AsRawFd::as_raw_fd));
    all.extend(kit.joins.iter().map(|(_, fd)| fd.as_raw_fd()));
    all.extend(sources.descriptors());
    all
}
