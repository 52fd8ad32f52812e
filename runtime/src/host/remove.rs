//! The end of a container: nothing of it runs, its cgroup is gone, its name is free.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::reach::{self, Reached};
use super::{cgroup, neighbours, rdt};
use crate::error::Error;
use crate::state::{Entry, FIFO, Intent, PidNamespace, Record, Status};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The deed, in an error's words.
const REMOVE: &str = "remove cgroup";

/// How long what was killed with init may take to be gone.
const LEAVING: Duration = Duration::from_secs(2);

/// Where a container is in its life, asked of the kernel now. `dir` is its state directory.
pub fn status(record: &Record, dir: &Path) -> Result<Status, Error> {
    if !record.init.is_alive() {
        return Ok(Status::Stopped);
    }
    // First: one that was created may be frozen too, and cannot hear `start` then.
    if matches!(cgroup::is_frozen(&record.cgroup), Ok(true)) {
        return Ok(Status::Paused);
    }
    match dir.join(FIFO).exists() {
        true => Ok(Status::Created),
        false => Ok(Status::Running),
    }
}

/// What becomes of a cgroup in which, at the end of the container, others are than its own processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They are an error, and the container stays on record.
    Refused,
    /// It is left to them.
    Left,
}

/// Kills what still runs and removes everything. The state goes last, so that a cut-off removal can be repeated.
pub fn container(entry: &Entry, record: &Record, others: Others) -> Result<(), Error> {
    kill_init(record)?;
    ended(entry, record, others)
}

/// The same once init has been waited for.
pub fn ended(entry: &Entry, record: &Record, others: Others) -> Result<(), Error> {
    if !record.cgroup.dirs.is_empty() && !cgroup::remove_if_empty(&record.cgroup) {
        empty(entry, record, others)?;
    }
    record.rdt.as_ref().map_or(Ok(()), rdt::remove)?;
    entry.remove()
}

/// A shared pid namespace lets others outlive init. With one of its own nobody does: who is inside came after the container's end.
fn empty(entry: &Entry, record: &Record, others: Others) -> Result<(), Error> {
    let is_empty = match record.pid_namespace {
        PidNamespace::Shared => {
            neighbours::refuse(entry.path(), record, REMOVE)?;
            cgroup::kill_all(&record.cgroup)?;
            true
        }
        PidNamespace::Own => cgroup::emptied_within(&record.cgroup, LEAVING)?,
    };
    match (is_empty, others) {
        (true, _) => cgroup::destroy(&record.cgroup),
        (false, Others::Left) => Ok(()),
        (false, Others::Refused) => Err(neighbours::in_use(record, REMOVE)),
    }
}

/// What a runtime killed during creation may have left.
pub fn intent(entry: &Entry, intent: &Intent) -> Result<(), Error> {
    let is_theirs = neighbours::have(entry.path(), intent)?;
    if !is_theirs {
        cgroup::kill_all(&intent.cgroup)?;
    }
    init_ended(entry)?;
    if !is_theirs {
        cgroup::destroy(&intent.cgroup)?;
    }
    intent.rdt.as_ref().map_or(Ok(()), rdt::remove)?;
    entry.remove()
}

/// Init ends by itself when it hears no more of the runtime; until then it has the fifo open, with or without the lock.
fn init_ended(entry: &Entry) -> Result<(), Error> {
    let wrong = |errno: Errno| Error::system(format!("wait at {}", entry.path().join(FIFO).display()), errno);
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let fifo = match openat(entry.dir(), FIFO, flags, Mode::empty()) {
        // It was not made yet, or nobody has it open.
        Err(Errno::ENOENT | Errno::ENXIO) => return Ok(()),
        other => other.map_err(wrong)?,
    };
    // The last reader's end is told to a writer as a process' end is to who has its descriptor.
    match cgroup::ended_within(&fifo, PATIENCE)? {
        true => Ok(()),
        false => Err(wrong(Errno::ETIMEDOUT)),
    }
}

/// SIGKILL to init, and the wait for its end. A process of another start time is somebody else's.
fn kill_init(record: &Record) -> Result<(), Error> {
    let wrong = |source| {
        Error::system(format!("kill process {} of container {}", record.init.pid, record.id), source)
    };
    let Some(init) = reach::open(record.init.pid)? else { return Ok(()) };
    // Checked after opening: from here on the descriptor means this process and no other.
    if !record.init.is_alive() {
        return Ok(());
    }
    if reach::signal(&init, record.init.pid, libc::SIGKILL)? == Reached::HasEnded {
        return Ok(());
    }
    // One that is frozen on v1 dies only when it goes on; one that is not frozen does not mind.
    if cgroup::is_frozen(&record.cgroup).unwrap_or(false) {
        cgroup::thaw(&record.cgroup)?;
    }
    match cgroup::ended_within(&init, PATIENCE)? {
        true => Ok(()),
        false => Err(wrong(std::io::Error::from_raw_os_error(libc::ETIMEDOUT))),
    }
}
