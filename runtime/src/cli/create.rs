//! `create`: a container that waits for `start`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::{Global, notify};
use crate::bundle::{self, Bundle};
use crate::error::{Error, Kind};
use crate::host::create::{Alive, Order, Start, create as carry_out, undo_groups, write_pid};
use crate::host::notify::Relay;
use crate::host::{cgroup, clock, console, facts, hooks, proc, rdt, seal, undo};
use crate::plan::facts::{Facts, Interest};
use crate::plan::rootfs::Pivot;
use crate::plan::{self, Keyring, Options, Plan};
use crate::state::{self, Clocks, ContainerId, Entry, Intent, PidNamespace, Process, Record};
use crate::sys;

/// create a container
#[derive(Parser, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
}

/// What `create` and `run` have in common.
#[derive(Parser, Debug)]
pub(super) struct Common {
    /// path to the root of the bundle directory, defaults to the current directory
    #[arg(short, long, value_name = "value")]
    pub(super) bundle: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal
    #[arg(long, value_name = "value")]
    pub(super) console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the init process
    #[arg(long, value_name = "value")]
    pub(super) pidfd_socket: Option<PathBuf>,
    /// specify the file to write the process id to
    #[arg(long, value_name = "value")]
    pub(super) pid_file: Option<PathBuf>,
    /// do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top of a ramdisk
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// do not create a new session keyring for the container.  This will cause the container to inherit the calling processes session key
    #[arg(long)]
    pub(super) no_new_keyring: bool,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, value_name = "value", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    #[arg(value_name = "container-id")]
    pub(super) id: String,
}

/// A container that is on record and waits.
pub(super) struct Born {
    pub(super) alive: Alive,
    pub(super) record: Record,
    pub(super) entry: Entry,
    pub(super) plan: Plan,
    /// With a service manager that waits for the container, for `run`.
    pub(super) relay: Option<Relay>,
}

pub(super) fn create(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    seal::protect()?;
    keep_from_children()?;
    let born = bear(&args.common, Start::Later, Mode::Detached, global)?;
    born.alive.wire.go()?;
    // The process ends here: nothing has to be freed and closed piece by piece.
    std::mem::forget(born);
    Ok(ExitCode::SUCCESS)
}

/// Whether the caller waits for the container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Detached,
    Foreground,
}

/// Bundle, facts, plan, host side, record: in this order.
pub(super) fn bear(args: &Common, start: Start, mode: Mode, global: &Global) -> Result<Born, Error> {
    let id = ContainerId::parse(&args.id)?;
    let mut bundle = bundle::open(args.bundle.as_deref().unwrap_or(Path::new(".")))?;
    global.warn(&bundle.warnings);
    let preserve_fds = args.preserve_fds.saturating_add(listen_fds(&mut bundle));
    let manager = notify::manager();
    if manager.is_some() {
        notify::offer(&mut bundle, &global.root()?.dir(&id));
    }
    check_console(&bundle, args.console_socket.as_deref(), mode)?;
    check_preserved(preserve_fds)?;
    let facts = facts::measure(Interest::of(&bundle.spec))?;
    let pivot = if args.no_pivot { Pivot::MoveOver } else { Pivot::PivotRoot };
    let keyring = if args.no_new_keyring { Keyring::Inherit } else { Keyring::Own(format!("_ses.{id}")) };
    let options = Options { preserve_fds, ..options((&args.id, &bundle), (pivot, keyring), global) };
    let plan = plan::plan(&bundle.spec, &facts, &options)?;
    global.warn(&plan.warnings);
    if let Some(program) = &plan.seccomp {
        global.log.debug(&format!("seccomp filter flags: {}", program.flags));
    }
    let entry = intend(&id, &bundle, &plan, global)?;
    let raised = notify::prepare(manager.as_ref(), start, &entry).and_then(|relay| {
        raise(args, start, (&bundle, &facts, &plan, &entry), global).map(|born| (born, relay))
    });
    match raised {
        Ok(((alive, record), relay)) => {
            // To free it now would only copy the pages that init still shares.
            std::mem::forget(bundle);
            Ok(Born { alive, record, entry, plan, relay })
        }
        Err(error) => {
            // Nothing of it is left: the name is free again.
            entry.remove()?;
            Err(error)
        }
    }
}

/// What the command line asked for, as far as `create` and `restore` have it in common.
pub(super) fn options(
    (id, bundle): (&str, &Bundle),
    (pivot, keyring): (Pivot, Keyring),
    global: &Global,
) -> Options {
    Options {
        id: id.to_owned(),
        bundle: bundle.dir.clone(),
        pivot,
        keyring,
        preserve_fds: 0,
        cgroups: global.cgroups,
        rootless: global.rootless,
    }
}

pub(super) fn intend(
    id: &ContainerId,
    bundle: &Bundle,
    plan: &Plan,
    global: &Global,
) -> Result<Entry, Error> {
    let by = Process::own().ok_or_else(|| Error::new(Kind::System, "read /proc/self/stat: no start time"))?;
    let cgroup = cgroup::record(&plan.cgroup);
    let rdt = plan.rdt.as_ref().map(rdt::find).transpose()?;
    let intent = Intent { version: state::VERSION, by, bundle: bundle.dir.clone(), cgroup, rdt };
    global.root()?.intend(id, &intent, &|| cgroup::look(&plan.cgroup))
}

pub(super) type Decided<'a> = (&'a Bundle, &'a Facts, &'a Plan, &'a Entry);

fn raise(
    args: &Common,
    start: Start,
    (bundle, facts, plan, entry): Decided<'_>,
    global: &Global,
) -> Result<(Alive, Record), Error> {
    let order = Order {
        plan,
        entry,
        start,
        ignored_signals: facts.caller.ignored_signals,
        state: state_for_hooks(&args.id, bundle),
        rdt: plan.rdt.as_ref().map(rdt::find).transpose()?,
        console: args.console_socket.as_deref(),
        draft: &|init, cgroup| {
            draft((init, cgroup, Clocks::AsConfigured), (bundle, facts, plan, entry), &args.id)
        },
        warn: &|text| global.log.warn(text),
    };
    let (alive, record) = carry_out(&order)?;
    let told = entry.publish().and_then(|()| match start {
        Start::Later => tell(args, &alive),
        // Once it has started.
        Start::Now => Ok(()),
    });
    match told {
        Ok(()) => Ok((alive, record)),
        Err(error) => {
            undo::end(&alive.init);
            undo_groups(&alive.cgroup, order.rdt.as_ref());
            Err(error)
        }
    }
}

fn annotations(bundle: &Bundle) -> BTreeMap<String, String> {
    let all = bundle.spec.annotations().iter().flatten();
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What hooks are told before there is a record.
pub(super) fn state_for_hooks(id: &str, bundle: &Bundle) -> hooks::State {
    let annotations = annotations(bundle);
    let version = bundle.spec.version();
    hooks::state(&hooks::Subject { version, id, bundle: &bundle.dir, annotations: &annotations })
}

/// Writes down the container of this init; it is in force once published. None where init has ended already.
pub(super) fn draft(
    (init, cgroup, clocks): (i32, state::Cgroup, Clocks),
    (bundle, facts, plan, entry): Decided<'_>,
    id: &str,
) -> Result<Option<Record>, Error> {
    let Some(init) = Process::of(init) else { return Ok(None) };
    let record = Record {
        version: state::VERSION,
        id: id.to_owned(),
        oci_version: bundle.spec.version().clone(),
        bundle: bundle.dir.clone(),
        rootfs: plan.rootfs.path.clone(),
        init,
        created: clock::now(),
        owner: facts.caller.uid,
        annotations: annotations(bundle),
        cgroup,
        pid_namespace: match plan.namespaces.makes(libc::CLONE_NEWPID) {
            true => PidNamespace::Own,
            false => PidNamespace::Shared,
        },
        streams: match plan.process.terminal {
            Some(_) => Vec::new(),
            None => proc::own_streams(),
        },
        clocks,
        memory_and_swap: None,
        rdt: plan.rdt.as_ref().map(rdt::find).transpose()?,
    };
    entry.draft(&record, &bundle.text)?;
    Ok(Some(record))
}

/// Tells the caller which process it is, where he has asked for it.
pub(super) fn tell(args: &Common, alive: &Alive) -> Result<(), Error> {
    if let Some(socket) = &args.pidfd_socket {
        console::send(socket, "pidfd", &alive.init.pidfd)?;
    }
    match &args.pid_file {
        None => Ok(()),
        Some(file) => write_pid(file, alive.init.pid),
    }
}

/// Sockets of a service manager go to the container, which is told so.
fn listen_fds(bundle: &mut Bundle) -> u32 {
    let count = std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    if count > 0 {
        add_to_env(bundle, &[format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
    }
    count
}

/// Variables that the runtime gives the container's process; of two of one name the last counts.
pub(super) fn add_to_env(bundle: &mut Bundle, more: &[String]) {
    if let Some(process) = bundle.spec.process_mut().as_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend_from_slice(more);
        process.set_env(Some(env));
    }
}

fn check_console(bundle: &Bundle, socket: Option<&Path>, mode: Mode) -> Result<(), Error> {
    let terminal = bundle.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    check_terminal(terminal, socket, mode)
}

/// runc's two rules, in its words.
pub(super) fn check_terminal(terminal: bool, socket: Option<&Path>, mode: Mode) -> Result<(), Error> {
    let refuse = |text: &str| Err(Error::new(Kind::Invalid, text));
    match (terminal, socket, mode) {
        (true, None, Mode::Detached) => {
            refuse("cannot allocate tty if runc will detach without setting console socket")
        }
        (false, Some(_), _) | (_, Some(_), Mode::Foreground) => {
            refuse("cannot use console socket if runc will not detach or allocate tty")
        }
        _ => Ok(()),
    }
}

/// All of them must be there, and nothing of ours may lie among them.
pub(super) fn check_preserved(count: u32) -> Result<(), Error> {
    match (3..count.saturating_add(3)).find(|fd| !sys::fds::is_open(*fd)) {
        None => Ok(()),
        Some(fd) => {
            let text = format!("unable to keep file descriptor {fd}: it is not open");
            Err(Error::new(Kind::Invalid, text).hint("--preserve-fds counts from 3"))
        }
    }
}

/// Descriptors that were left open for us are not for hooks and helpers; the preserved ones get through to execve by name.
pub(super) fn keep_from_children() -> Result<(), Error> {
    sys::fds::close_range_on_exec(3, u32::MAX).map_err(|source| Error::system("mark descriptors", source))
}
