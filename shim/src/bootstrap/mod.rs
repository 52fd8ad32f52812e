//! `start`, `delete` and `-info`: the short-lived processes that containerd runs.
//!
//! Invariant: `start` prints its answer and nothing else, on either stream; when it fails, nothing of it is left.

mod cleanup;
mod info;
mod params;
mod socket;

pub(crate) use cleanup::delete;
pub(crate) use info::info;
pub(crate) use params::Environment;
pub(crate) use socket::sweep;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use self::params::Params;
use self::socket::Claim;
use crate::cgroup;
use crate::cli::Flags;
use crate::error::{Doing, Error};
use crate::spec::Spec;
use crate::sys::child::{self, Side};
use crate::sys::{fd, wait};
use crate::task::Setup;

/// What this process is from now on.
pub(crate) enum Role {
    /// The one containerd waits for: it prints this and ends.
    Messenger(Vec<u8>),
    /// The one that stays.
    Server(Setup),
}

/// Starts a shim for the container, or finds the one its pod has already.
///
/// The server is a fork, not a new execution of this binary: that is a millisecond saved on every container.
pub(crate) fn start(flags: &Flags, environment: &Environment, stdin: &[u8]) -> Result<Role, Error> {
    let params = params::read(flags, environment, stdin)?;
    let bundle = bundle(flags)?;
    let path = socket_path(flags, &params, &bundle)?;
    let address = format!("unix://{}", path.display());
    let answer = params::answer(params.answer, &address)?;
    let listener = match socket::claim(&path)? {
        Claim::Existing => {
            write_address(&bundle, &address)?;
            return Ok(Role::Messenger(answer));
        }
        Claim::New(listener) => listener,
    };
    let undo = |error| {
        drop(socket::remove(&path));
        error
    };
    write_address(&bundle, &address).map_err(undo)?;
    if environment.sched_core {
        child::share_core_with_nobody().doing(|| "make a core scheduling cookie".into()).map_err(undo)?;
    }
    match child::fork().doing(|| "start the shim".into()).map_err(undo)? {
        Side::Child => {
            detach(&bundle)?;
            let Params { namespace, events, debug, .. } = params;
            Ok(Role::Server(Setup { listener, socket: path, namespace, events, debug }))
        }
        Side::Parent(pid) => match place(pid, &params.options.shim_cgroup) {
            Ok(()) => Ok(Role::Messenger(answer)),
            Err(error) => {
                drop(wait::kill(pid, 9));
                Err(undo(error))
            }
        },
    }
}

fn bundle(flags: &Flags) -> Result<PathBuf, Error> {
    match &flags.bundle {
        Some(bundle) => std::path::absolute(bundle).doing(|| format!("find {}", bundle.display())),
        None => std::env::current_dir().doing(|| "find the bundle, which is the working directory".into()),
    }
}

fn socket_path(flags: &Flags, params: &Params, bundle: &Path) -> Result<PathBuf, Error> {
    if let Some(socket) = &flags.socket {
        return std::path::absolute(socket).doing(|| format!("find {}", socket.display()));
    }
    let spec = Spec::read(bundle)?;
    let group = spec.group().unwrap_or(&params.id);
    let dir = socket::private_dir(Path::new(params.socket_dir.as_deref().unwrap_or(socket::DEFAULT_DIR)))?;
    Ok(dir.join(socket::name(&params.containerd, &params.namespace, group)))
}

/// containerd 1.6 reads this file when it comes back and looks for its shims.
fn write_address(bundle: &Path, address: &str) -> Result<(), Error> {
    let (draft, file) = (bundle.join(".address"), bundle.join("address"));
    std::fs::write(&draft, address).doing(|| format!("write {}", draft.display()))?;
    std::fs::rename(&draft, &file).doing(|| format!("write {}", file.display()))
}

/// A session of its own, and none of containerd's descriptors: it waits for their end. What the shim, or a panic, has to
/// say goes to the fifo that containerd reads. That one is opened for both, so that it never blocks and never breaks.
fn detach(bundle: &Path) -> Result<(), Error> {
    let doing = || "detach from containerd".to_owned();
    nix::unistd::setsid().doing(doing)?;
    let null = fd::null().doing(doing)?;
    let log = fd::open_path(&bundle.join("log"), OFlag::O_RDWR | OFlag::O_NONBLOCK);
    let log = log.as_ref().map_or(null.as_fd(), AsFd::as_fd);
    nix::unistd::dup2_stdin(&null).doing(doing)?;
    nix::unistd::dup2_stdout(&null).doing(doing)?;
    nix::unistd::dup2_stderr(log).doing(doing)?;
    Ok(())
}

/// Where the operator wants the shim, and a little more likely than containerd to be killed for want of memory.
fn place(pid: Pid, shim_cgroup: &str) -> Result<(), Error> {
    if !shim_cgroup.is_empty() {
        cgroup::join(shim_cgroup, pid)?;
    }
    let parent = format!("/proc/{}/oom_score_adj", nix::unistd::getppid());
    let score =
        std::fs::read_to_string(&parent).ok().and_then(|text| text.trim().parse::<i32>().ok()).unwrap_or(0);
    let own = format!("/proc/{pid}/oom_score_adj");
    let wanted = (score + 1).min(1000);
    std::fs::write(&own, wanted.to_string()).doing(|| format!("write {wanted} to {own}"))
}
