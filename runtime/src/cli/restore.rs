//! `restore`: a container from the images that `checkpoint` has written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::Global;
use super::checkpoint::{IMAGES, check_namespaces, warn_rootless};
use super::create::{
    Decided, Mode, check_terminal, draft, intend, keep_from_children, options, state_for_hooks,
};
use super::run::is_ours_to_remove;
use crate::bundle::{self, Bundle};
use crate::error::Error;
use crate::host::create::write_pid;
use crate::host::remove::Others;
use crate::host::{criu, facts, foreground, hooks, remove, undo};
use crate::plan::criu::{CgroupMode, Options, Switch};
use crate::plan::facts::Interest;
use crate::plan::rootfs::Pivot;
use crate::plan::{self, Keyring};
use crate::state::{ContainerId, Entry, Record};

/// restore a container from a previous checkpoint
#[derive(Parser, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "runc's flags")]
pub(super) struct Args {
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal
    #[arg(long, value_name = "value")]
    console_socket: Option<PathBuf>,
    /// path to criu image files for restoring
    #[arg(long, value_name = "value")]
    image_path: Option<PathBuf>,
    /// path for saving work files and logs
    #[arg(long, value_name = "value")]
    work_path: Option<PathBuf>,
    /// allow open tcp connections
    #[arg(long)]
    tcp_established: bool,
    /// allow external unix sockets
    #[arg(long)]
    ext_unix_sk: bool,
    /// allow shell jobs
    #[arg(long)]
    shell_job: bool,
    /// handle file locks, for safety
    #[arg(long)]
    file_locks: bool,
    /// cgroups mode: soft|full|strict|ignore (default: soft)
    #[arg(long, value_name = "value")]
    manage_cgroups_mode: Option<String>,
    /// path to the root of the bundle directory
    #[arg(short, long, value_name = "value")]
    bundle: Option<PathBuf>,
    /// detach from the container's process
    #[arg(short, long)]
    detach: bool,
    /// specify the file to write the process id to
    #[arg(long, value_name = "value")]
    pid_file: Option<PathBuf>,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    no_subreaper: bool,
    /// do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top of a ramdisk
    #[arg(long)]
    no_pivot: bool,
    /// create a namespace, but don't restore its properties
    #[arg(long, value_name = "value")]
    empty_ns: Vec<String>,
    /// enable auto deduplication of memory images
    #[arg(long)]
    auto_dedup: bool,
    /// use userfaultfd to lazily restore memory pages
    #[arg(long)]
    lazy_pages: bool,
    /// Specify an LSM profile to be used during restore in the form of TYPE:NAME.
    #[arg(long, value_name = "value")]
    lsm_profile: Option<String>,
    /// Specify an LSM mount context to be used during restore.
    #[arg(long, value_name = "value")]
    lsm_mount_context: Option<String>,
    #[arg(value_name = "container-id")]
    id: String,
}

pub(super) fn restore(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    keep_from_children()?;
    match args.detach {
        true => {
            bear(args, Mode::Detached, global)?;
            Ok(ExitCode::SUCCESS)
        }
        false => foreground(args, global),
    }
}

fn foreground(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    // Before the process is there: a signal that comes in between is not lost.
    let blocked = foreground::block()?;
    if !args.no_subreaper {
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|errno| Error::system("become the subreaper", errno))?;
    }
    let mut back = bear(args, Mode::Foreground, global)?;
    back.entry.unlock();
    let exit = foreground::wait(
        &back.restored.init,
        &foreground::Attended { terminal: back.restored.terminal.take(), relay: None },
        &blocked,
    );
    if is_ours_to_remove(&back.entry)? {
        remove::container(&back.entry, &back.record, Others::Left)?;
        drop(hooks::run(&back.poststop, "poststop", "stopped", &back.record));
    }
    Ok(ExitCode::from(u8::try_from(exit?.code()).unwrap_or(u8::MAX)))
}

/// A container that runs again, and is on record.
struct Back {
    restored: criu::Restored,
    entry: Entry,
    record: Record,
    poststop: Vec<plan::hooks::Hook>,
}

fn bear(args: &Args, mode: Mode, global: &Global) -> Result<Back, Error> {
    let id = ContainerId::parse(&args.id)?;
    let bundle = bundle::open(args.bundle.as_deref().unwrap_or(Path::new(".")))?;
    global.warn(&bundle.warnings);
    check_namespaces(&args.empty_ns)?;
    let terminal = bundle.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    check_terminal(terminal, args.console_socket.as_deref(), mode)?;
    let facts = facts::measure(Interest::ALL)?;
    warn_rootless("restore", &facts, global);
    if args.no_pivot {
        global.log.warn("--no-pivot changes nothing: criu enters the container's root in its own way");
    }
    // The keyring is in the images.
    let asked = options((&args.id, &bundle), (Pivot::PivotRoot, Keyring::Inherit), global);
    let plan = plan::plan(&bundle.spec, &facts, &asked)?;
    global.warn(&plan.warnings);
    if plan.rdt.is_some() {
        let text = "restore the container: linux.intelRdt is not restored";
        return Err(Error::new(crate::error::Kind::Unsupported, text));
    }
    let wanted = wanted(args, &bundle, &plan)?;
    let entry = intend(&id, &bundle, &plan, global)?;
    match raise(args, (&bundle, &facts, &plan, &entry), &wanted, global) {
        Ok((restored, record)) => Ok(Back { restored, entry, record, poststop: plan.hooks.poststop }),
        Err(error) => {
            // Nothing of it is left: the name is free again.
            entry.remove()?;
            Err(error)
        }
    }
}

fn wanted(args: &Args, bundle: &Bundle, plan: &plan::Plan) -> Result<Options, Error> {
    let typed = [
        (args.tcp_established, Switch::TcpEstablished),
        (args.ext_unix_sk, Switch::ExtUnixSk),
        (args.shell_job, Switch::ShellJob),
        (args.file_locks, Switch::FileLocks),
        (args.auto_dedup, Switch::AutoDedup),
        (args.lazy_pages, Switch::LazyPages),
    ];
    let mut switches = vec![
        Switch::EvasiveDevices,
        // The restored process is our child, and not criu's, which ends.
        Switch::RstSibling,
        Switch::ManageCgroups,
        Switch::NotifyScripts,
        Switch::OrphanPtsMaster,
    ];
    switches.extend(typed.iter().filter(|(is_on, _)| *is_on).map(|(_, switch)| *switch));
    let mut externals = plan::criu::of_plan(plan)?;
    externals.extend(plan::criu::external_null(&plan.masks));
    Ok(Options {
        switches,
        cgroups: CgroupMode::parse(args.manage_cgroups_mode.as_deref().unwrap_or_default())?,
        externals,
        config: plan::criu::config(bundle.spec.annotations().as_ref()),
        lsm_profile: args.lsm_profile.clone().filter(|text| !text.is_empty()),
        lsm_mount_context: args.lsm_mount_context.clone().filter(|text| !text.is_empty()),
        ..Options::default()
    })
}

fn raise(
    args: &Args,
    (bundle, facts, plan, entry): Decided<'_>,
    wanted: &Options,
    global: &Global,
) -> Result<(criu::Restored, Record), Error> {
    let images = images(args.image_path.as_deref(), &bundle.dir);
    let terminal = plan.process.terminal.as_ref().map(|_| args.console_socket.as_deref());
    let decided = (bundle, facts, plan, entry);
    let record = std::cell::OnceCell::new();
    let restored = criu::restore(&criu::Restore {
        plan,
        entry,
        options: wanted,
        images: &images,
        work: args.work_path.as_deref(),
        state: state_for_hooks(&args.id, bundle),
        terminal,
        ignored_signals: facts.caller.ignored_signals,
        commit: &|init, cgroup, clocks| {
            let drafted = draft((init.pid, cgroup.record(), clocks), decided, &args.id)?;
            entry.publish()?;
            record.set(drafted.ok_or_else(unrecorded)?).map_err(|_| unrecorded())
        },
        warn: &|text| global.log.warn(text),
        debug: &|text| global.log.debug(text),
    })?;
    let told = match (&args.pid_file, record.into_inner()) {
        (_, None) => Err(unrecorded()),
        (None, Some(record)) => Ok(record),
        (Some(file), Some(record)) => write_pid(file, restored.init.pid).map(|()| record),
    };
    match told {
        Ok(record) => Ok((restored, record)),
        Err(error) => {
            undo::end(&restored.init);
            restored.cgroup.undo();
            Err(error)
        }
    }
}

/// From where the caller is; runc has entered the bundle by then, so that a path which is there alone is meant there.
fn images(asked: Option<&Path>, bundle: &Path) -> PathBuf {
    let Some(path) = asked else { return PathBuf::from(IMAGES) };
    let in_bundle = bundle.join(path);
    match !path.exists() && in_bundle.is_dir() {
        true => in_bundle,
        false => path.to_owned(),
    }
}

fn unrecorded() -> Error {
    Error::new(crate::error::Kind::System, "restore the container: criu has told of no process, or of two")
}
