//! Waits for what the kernel tells of a cgroup: killed for want of memory, or empty.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

struct Ready {
    ended: bool,
    told: bool,
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

    /// Waits for the next thing, until then at most. Files that change all the time do not put that off.
    pub fn wait(&mut self, until: Option<Instant>) -> Result<Happened, Error> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let ready = self.poll(left)?;
            if ready.told && self.is_oom()? {
                return Ok(Happened::Oom);
            }
            if ready.ended {
                // The kernel holds changes of a file back for up to 10 ms, and the end of a process it does not.
                return Ok(if self.has_more_kills() { Happened::Oom } else { Happened::Ended });
            }
            // As precise as poll: what is less than a millisecond is nothing to it.
            if left.is_some_and(|left| left < Duration::from_millis(1)) {
                return Ok(Happened::Nothing);
            }
        }
    }

    fn poll(&self, limit: Option<Duration>) -> Result<Ready, Error> {
        let limit = limit.map(|limit| PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
        let events = match &self.memory {
            Memory::V1 { events, .. } => Some(events.as_fd()),
            Memory::V2 { inotify, .. } => Some(inotify.as_fd()),
            Memory::None => None,
        };
        let mut waited = vec![PollFd::new(self.init.as_fd(), PollFlags::POLLIN)];
        waited.extend(events.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut waited, limit.unwrap_or(PollTimeout::NONE)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("wait for events of the container", errno)),
        }
        let is = |at: usize| waited.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        Ok(Ready { ended: is(0), told: is(1) })
    }

    fn has_more_kills(&mut self) -> bool {
        match &mut self.memory {
            Memory::V2 { dir, kills, .. } => {
                let now = count(dir);
                std::mem::replace(kills, now) < now
            }
            Memory::V1 { .. } | Memory::None => false,
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
            Memory::V2 { inotify, .. } => {
                inotify.read_events().map_err(wrong)?;
                Ok(self.has_more_kills())
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A watch of a process, on a directory with counters of its own.
    fn watch(process: &Child, dir: &Path) -> Watch {
        std::fs::write(dir.join("memory.events"), "high 0\noom_kill 0\n").unwrap();
        let pid = i32::try_from(process.id()).unwrap();
        Watch { init: reach::open(pid).unwrap().unwrap(), memory: v2_events(dir).unwrap() }
    }

    #[test]
    fn a_file_that_changes_all_the_time_puts_nothing_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut watch = watch(&process, dir.path());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::fs::write(dir.path().join("memory.events"), "high 1\noom_kill 0\n").unwrap();
                }
            });
            let happened = watch.wait(Some(Instant::now() + Duration::from_millis(50)));
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(happened.unwrap(), Happened::Nothing);
        });
        process.kill().unwrap();
        process.wait().unwrap();
    }

    #[test]
    fn a_kill_that_nobody_told_of_yet_comes_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut watch = watch(&process, dir.path());
        // Another file of the name: nobody watches that one.
        std::fs::write(dir.path().join("new"), "high 1\noom_kill 1\n").unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("memory.events")).unwrap();
        process.kill().unwrap();
        assert_eq!(watch.wait(None).unwrap(), Happened::Oom);
        assert_eq!(watch.wait(None).unwrap(), Happened::Ended);
        process.wait().unwrap();
    }
}
