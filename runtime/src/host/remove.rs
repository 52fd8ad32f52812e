//! The end of a container: nothing of it runs, its cgroup is gone, its name is free.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::reach::{self, Reached};
use super::{cgroup, rdt};
use crate::error::Error;
use crate::state::{Entry, FIFO, Intent, Record, Status};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Kills what still runs and removes everything. The state goes last, so that a cut-off removal can be repeated.
pub fn container(entry: &Entry, record: &Record) -> Result<(), Error> {
    kill_init(record)?;
    ended(entry, record)
}

/// The same once init has been waited for.
pub fn ended(entry: &Entry, record: &Record) -> Result<(), Error> {
    if !record.cgroup.dirs.is_empty() && !cgroup::remove_if_empty(&record.cgroup) {
        // A shared pid namespace lets others outlive init.
        cgroup::kill_all(&record.cgroup)?;
        cgroup::destroy(&record.cgroup)?;
    }
    record.rdt.as_ref().map_or(Ok(()), rdt::remove)?;
    entry.remove()
}

/// What a runtime killed during creation may have left.
pub fn intent(entry: &Entry, intent: &Intent) -> Result<(), Error> {
    cgroup::kill_all(&intent.cgroup)?;
    init_ended(entry)?;
    cgroup::destroy(&intent.cgroup)?;
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
