//! `checkpoint`: a running container becomes images on disk.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use oci_spec::runtime::Spec;

use super::create::keep_from_children;
use super::{Global, delete};
use crate::bundle;
use crate::error::{Error, Kind};
use crate::host::criu::message::Deed;
use crate::host::remove::Others;
use crate::host::{criu, facts, remove};
use crate::plan::criu::{CgroupMode, Options, PageServer, Switch};
use crate::plan::facts::Interest;
use crate::plan::{self, masks, namespaces};
use crate::state::{ContainerId, Entry, Record, Status};
use crate::sys::fds;

/// checkpoint a running container
#[derive(Parser, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "runc's flags")]
pub(super) struct Args {
    /// path for saving criu image files
    #[arg(long, value_name = "value")]
    image_path: Option<PathBuf>,
    /// path for saving work files and logs
    #[arg(long, value_name = "value")]
    work_path: Option<PathBuf>,
    /// path for previous criu image files in pre-dump
    #[arg(long, value_name = "value")]
    parent_path: Option<PathBuf>,
    /// leave the process running after checkpointing
    #[arg(long)]
    leave_running: bool,
    /// allow open tcp connections
    #[arg(long)]
    tcp_established: bool,
    /// skip in-flight tcp connections
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// allow one to link unlinked files back when possible
    #[arg(long)]
    link_remap: bool,
    /// allow external unix sockets
    #[arg(long)]
    ext_unix_sk: bool,
    /// allow shell jobs
    #[arg(long)]
    shell_job: bool,
    /// use userfaultfd to lazily restore memory pages
    #[arg(long)]
    lazy_pages: bool,
    /// criu writes \0 to this FD once lazy-pages is ready
    #[arg(long, value_name = "value", default_value_t = -1, allow_negative_numbers = true)]
    status_fd: i32,
    /// ADDRESS:PORT of the page server
    #[arg(long, value_name = "value")]
    page_server: Option<String>,
    /// handle file locks, for safety
    #[arg(long)]
    file_locks: bool,
    /// dump container's memory information only, leave the container running after this
    #[arg(long)]
    pre_dump: bool,
    /// cgroups mode: soft|full|strict|ignore (default: soft)
    #[arg(long, value_name = "value")]
    manage_cgroups_mode: Option<String>,
    /// create a namespace, but don't restore its properties
    #[arg(long, value_name = "value")]
    empty_ns: Vec<String>,
    /// enable auto deduplication of memory images
    #[arg(long)]
    auto_dedup: bool,
    #[arg(value_name = "container-id")]
    id: String,
}

/// The images go here without `--image-path`, as in runc.
pub(super) const IMAGES: &str = "checkpoint";

pub(super) fn checkpoint(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    keep_from_children()?;
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let entry = match args.lazy_pages {
        // One that waits for its pages to be fetched may wait for ever, and must not keep `delete` out for so long.
        true => root.entry(&id)?,
        false => root.locked(&id)?,
    };
    let record = root.load(&id)?;
    match remove::status(&record, entry.path())? {
        Status::Running | Status::Paused => {}
        status => {
            let text = format!("Container cannot be checkpointed in {status} state");
            return Err(Error::new(Kind::Invalid, text));
        }
    }
    let spec = bundle::recorded(&root.config(&id)?)?;
    dump(args, &record, &spec, global)?;
    match args.leave_running || args.pre_dump {
        true => Ok(ExitCode::SUCCESS),
        false => forget(&entry, &record, &spec, global),
    }
}

/// Everything that runs is on disk; what is left is removed. A hook that fails changes nothing about that.
fn forget(entry: &Entry, record: &Record, spec: &Spec, global: &Global) -> Result<ExitCode, Error> {
    // With lazy pages nobody was kept out in the meantime: another container may have the name now, and the cgroup.
    entry.lock()?;
    if !entry.is_there() {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = plan::hooks::plan(spec).and_then(|hooks| delete::end((entry, record), Others::Left, &hooks));
    if let Err(error) = ended {
        global.log.warn(&error.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

fn dump(args: &Args, record: &Record, spec: &Spec, global: &Global) -> Result<(), Error> {
    let images = images(args)?;
    check_namespaces(&args.empty_ns)?;
    let facts = facts::measure(Interest::ALL)?;
    warn_rootless("checkpoint", &facts, global);
    let linux = spec.linux().clone().unwrap_or_default();
    let namespaces = namespaces::plan(&linux, &facts)?;
    let options = Options {
        switches: switches(args),
        cgroups: CgroupMode::parse(args.manage_cgroups_mode.as_deref().unwrap_or_default())?,
        config: plan::criu::config(spec.annotations().as_ref()),
        parent: args.parent_path.clone(),
        page_server: args.page_server.as_deref().map(PageServer::parse).transpose()?,
        externals: plan::criu::of_recorded(spec, &facts, (&args.id, &record.bundle))?,
        ..Options::default()
    };
    criu::dump(criu::Dump {
        deed: if args.pre_dump { Deed::PreDump } else { Deed::Dump },
        record,
        namespaces: &namespaces,
        options,
        masked: &masks::plan(&linux)?.masked,
        images: &images,
        work: args.work_path.as_deref(),
        status: status(args)?,
        ignored_signals: facts.caller.ignored_signals,
        warn: &|text| global.log.warn(text),
        debug: &|text| global.log.debug(text),
    })
}

fn switches(args: &Args) -> Vec<Switch> {
    let typed = [
        (args.leave_running, Switch::LeaveRunning),
        (args.tcp_established, Switch::TcpEstablished),
        (args.tcp_skip_in_flight, Switch::TcpSkipInFlight),
        (args.link_remap, Switch::LinkRemap),
        (args.ext_unix_sk, Switch::ExtUnixSk),
        (args.shell_job, Switch::ShellJob),
        (args.file_locks, Switch::FileLocks),
        (args.auto_dedup, Switch::AutoDedup),
        (args.lazy_pages, Switch::LazyPages),
        // Pages that have not changed since the parent are found by it.
        (args.parent_path.is_some(), Switch::TrackMem),
    ];
    let mut switches = vec![Switch::ManageCgroups, Switch::NotifyScripts, Switch::OrphanPtsMaster];
    switches.extend(typed.iter().filter(|(is_on, _)| *is_on).map(|(_, switch)| *switch));
    switches
}

/// The images' directory; the parent's has to be there, and relative to it, as it is recorded in the images.
fn images(args: &Args) -> Result<PathBuf, Error> {
    let images = args.image_path.as_deref().filter(|path| !path.as_os_str().is_empty());
    let images = images.unwrap_or(Path::new(IMAGES)).to_owned();
    criu::make(&images)?;
    let Some(parent) = &args.parent_path else { return Ok(images) };
    if parent.is_absolute() {
        return Err(Error::new(Kind::Invalid, "--parent-path must be relative"));
    }
    let parent = images.join(parent);
    let wrong = |source| Error::system(format!("invalid --parent-path: stat {}", parent.display()), source);
    match std::fs::metadata(&parent).map_err(wrong)?.is_dir() {
        true => Ok(images),
        false => Err(wrong(std::io::Error::from_raw_os_error(libc::ENOTDIR))),
    }
}

/// The network namespace is one in any case.
pub(super) fn check_namespaces(names: &[String]) -> Result<(), Error> {
    match names.iter().find(|name| *name != "network") {
        None => Ok(()),
        Some(name) => Err(Error::new(Kind::Invalid, format!("namespace {name:?} is not supported"))),
    }
}

pub(super) fn warn_rootless(verb: &str, facts: &plan::facts::Facts, global: &Global) {
    if !facts.caller.may_on_host(plan::caps::SYS_ADMIN) {
        global.log.warn(&format!("{} {verb} is untested with rootless containers", global.program));
    }
}

fn status(args: &Args) -> Result<Option<OwnedFd>, Error> {
    let number = args.status_fd;
    if number == -1 || !args.lazy_pages {
        return Ok(None);
    }
    let wrong = |source| Error::system(format!("invalid --status-fd argument {number}"), source);
    let ours = number > 2;
    let fd = fds::inherited(number).filter(|_| ours);
    let fd = fd.ok_or_else(|| wrong(std::io::Error::from_raw_os_error(libc::EBADF)))?;
    let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(|errno| wrong(errno.into()))?;
    match OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE {
        OFlag::O_RDONLY => {
            let text = format!("invalid --status-fd argument {number}: not writable");
            Err(Error::new(Kind::Invalid, text))
        }
        _ => Ok(Some(fd)),
    }
}
