//! Waits for what the kernel tells of a cgroup: killed for want of memory, or empty.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::file;
use crate::error::Error;
use crate::host::reach;
use crate::state::Record;

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Oom,
    Ended,
    /// The time was up.
    Nothing,
}

/// Watches one container.
#[derive(Debug)]
pub struct Watch {
    init: OwnedFd,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    /// The kernel counts up in a descriptor of ours (memory.rst, "OOM Control").
    V1 { events: EventFd, dir: PathBuf },
    /// `memory.events` changes; the count of kills tells whether that was it.
    V2 { inotify: Inotify, dir: PathBuf, kills: u64 },
    /// Without the memory controller nobody tells.
    None,
}

impl Watch {
    /// Begins to watch.
    pub fn new(record: &Record) -> Result<Self, Error> {
        let wrong = |source| Error::system(format!("watch container {}", record.id), source);
        let init = reach::open(record.init.pid)?
            .ok_or_else(|| wrong(std::io::Error::from_raw_os_error(libc::ESRCH)))?;
        let dirs = &record.cgroup.dirs;
        let v1 = dirs.iter().find(|dir| dir.controllers.iter().any(|own| own == "memory"));
        let v2 = dirs.iter().find(|dir| dir.version == 2 && dir.path.join("memory.events").exists());
        let memory = match (v1, v2) {
            (Some(dir), _) => v1_events(&dir.path)?,
            (None, Some(dir)) => v2_events(&dir.path)?,
            (None, None) => Memory::None,
        };
        Ok(Self { init, memory })
    }

    /// Waits for the next thing, at most so long.
    pub fn wait(&mut self, limit: Duration) -> Result<Happened, Error> {
        let wrong = |errno: nix::errno::Errno| Error::system("wait for events of the container", errno);
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let events = match &self.memory {
            Memory::V1 { events, .. } => Some(events.as_fd()),
            Memory::V2 { inotify, .. } => Some(inotify.as_fd()),
            Memory::None => None,
        };
        let mut waited = vec![PollFd::new(self.init.as_fd(), PollFlags::POLLIN)];
        waited.extend(events.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut waited, timeout) {
            Ok(0) => return Ok(Happened::Nothing),
            Err(nix::errno::Errno::EINTR) => return Ok(Happened::Nothing),
            other => other.map_err(wrong)?,
        };
        let ready = |at: usize| waited.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        let (ended, told) = (ready(0), ready(1));
        if told && self.is_oom()? {
            return Ok(Happened::Oom);
        }
        match ended {
            true => Ok(Happened::Ended),
            false => self.wait(limit),
        }
    }

    fn is_oom(&mut self) -> Result<bool, Error> {
        let wrong = |errno: nix::errno::Errno| Error::system("read the container's memory events", errno);
        match &mut self.memory {
            Memory::V1 { events, dir } => {
                events.read().map_err(wrong)?;
                // Also told when the cgroup is removed.
                Ok(dir.exists())
            }
            Memory::V2 { inotify, dir, kills } => {
                inotify.read_events().map_err(wrong)?;
                let now = count(dir);
                Ok(std::mem::replace(kills, now) < now)
            }
            Memory::None => Ok(false),
        }
    }
}

fn v1_events(dir: &Path) -> Result<Memory, Error> {
    let wrong = |source: std::io::Error| Error::system(format!("watch {}", dir.display()), source);
    let events =
        EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC).map_err(|errno| wrong(errno.into()))?;
    let control = File::open(dir.join("memory.oom_control")).map_err(wrong)?;
    let line = format!("{} {}", events.as_fd().as_raw_fd(), control.as_raw_fd());
    file::write(dir, "cgroup.event_control", &line)?;
    Ok(Memory::V1 { events, dir: dir.to_owned() })
}

fn v2_events(dir: &Path) -> Result<Memory, Error> {
    let wrong = |errno: nix::errno::Errno| Error::system(format!("watch {}", dir.display()), errno);
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(wrong)?;
    inotify.add_watch(&dir.join("memory.events"), AddWatchFlags::IN_MODIFY).map_err(wrong)?;
    Ok(Memory::V2 { inotify, dir: dir.to_owned(), kills: count(dir) })
}

fn count(dir: &Path) -> u64 {
    let text = file::read(dir, "memory.events").unwrap_or_default();
    let number = |line: &str| line.strip_prefix("oom_kill ")?.parse().ok();
    text.lines().find_map(number).unwrap_or(0)
}
