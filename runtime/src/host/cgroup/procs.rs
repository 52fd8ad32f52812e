//! Who is inside, and the end of all of them.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::tree::innermost_first;
use super::{file, freeze, thaw};
use crate::error::{Error, Kind};
use crate::host::reach;
use crate::state;
use crate::sys::pidfd;

/// Every process in the cgroup and below it. A directory that is gone has none.
pub fn procs(record: &state::Cgroup) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    // All of a container's directories hold the same processes; one that is there will do.
    if let Some(dir) = record.dirs.iter().find(|dir| dir.path.is_dir()) {
        add_tree(&dir.path, &mut pids)?;
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn add_tree(dir: &Path, pids: &mut Vec<i32>) -> Result<(), Error> {
    let wrong = |source| Error::system(format!("list the processes in {}", dir.display()), source);
    let mut add = |listed: std::io::Result<String>| {
        let text = match listed {
            Ok(text) => text,
            // Removed meanwhile; or a threaded cgroup, whose processes are listed above it.
            Err(source) if is_without_list(&source) => return Ok(()),
            Err(source) => return Err(source),
        };
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        Ok(())
    };
    add(file::read_kernel(&dir.join(LIST))).map_err(wrong)?;
    let below = innermost_first(dir, &mut |parent, name| {
        let open = |dir| openat(dir, LIST, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(parent, name, flags, Mode::empty()).and_then(open);
        add(opened.map_err(Into::into).and_then(|list| file::read_open(list.into())))
    });
    match below {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(wrong),
    }
}

const LIST: &str = "cgroup.procs";

fn is_without_list(source: &std::io::Error) -> bool {
    matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP))
}

/// Waits until nobody is inside; false where somebody stays.
pub fn emptied_within(record: &state::Cgroup, limit: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + limit;
    loop {
        let pids = procs(record)?;
        if pids.is_empty() {
            return Ok(true);
        }
        for pid in pids {
            let left = deadline.saturating_duration_since(Instant::now());
            match reach::open(pid)? {
                Some(process) if !ended_within(&process, left)? => return Ok(false),
                None if left.is_zero() => return Ok(false),
                _ => {}
            }
        }
    }
}

/// How long the kernel may take to end processes that were killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills everything inside, and returns when nothing is left.
pub fn kill_all(record: &state::Cgroup) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pids = procs(record)?;
        if pids.is_empty() {
            return Ok(());
        }
        // Opened while they are surely in there: a number may be used again by the time it is signalled.
        let open: Vec<OwnedFd> =
            pids.iter().filter_map(|pid| reach::open(*pid).transpose()).collect::<Result<_, Error>>()?;
        kill_once(record, &open)?;
        for process in &open {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !ended_within(process, left)? {
                let text = format!("kill all processes of the container: {} are still there", pids.len());
                return Err(Error::new(Kind::System, text));
            }
        }
        // A zombie that its parent has not waited for counts as gone; it has left the cgroup.
        if open.is_empty() && Instant::now() > deadline {
            return Ok(());
        }
    }
}

fn kill_once(record: &state::Cgroup, open: &[OwnedFd]) -> Result<(), Error> {
    let v2 = record.dirs.iter().find(|dir| dir.version == 2);
    let at_once = v2.is_some_and(|dir| file::write(&dir.path, "cgroup.kill", "1").is_ok());
    if at_once && record.dirs.len() == 1 {
        return Ok(());
    }
    // Frozen, nobody can fork away between the list and the signal. On v1 they die only once thawed.
    drop(freeze(record));
    for process in open {
        drop(pidfd::signal(process, libc::SIGKILL));
    }
    thaw(record)
}

/// Waits for a process that need not be a child.
pub fn ended_within(process: &OwnedFd, limit: Duration) -> Result<bool, Error> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        let mut waited = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, timeout) {
            Ok(count) => return Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("wait for the end of a process", errno)),
        }
    }
}
