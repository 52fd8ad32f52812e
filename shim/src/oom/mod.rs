//! Being told that the kernel killed for want of memory.
//!
//! Invariant: a kill that came before a container's exit is reported before that exit: `fired` is asked once more then.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::cgroup::{Cgroup, counters};
use crate::error::{Doing, Error};
use crate::sys::fd;

/// A memory cgroup under watch.
pub(crate) struct Watch {
    wake: OwnedFd,
    /// `memory.events` (v2) or `memory.oom_control` (v1): both count kills.
    file: PathBuf,
    seen: u64,
}

impl Watch {
    /// Nothing if the container has no memory cgroup.
    pub(crate) fn start(cgroup: &Cgroup) -> Result<Option<Watch>, Error> {
        let Some(dir) = cgroup.dir("memory") else { return Ok(None) };
        let (file, wake) = if cgroup.is_unified() {
            let file = dir.join("memory.events");
            if !file.exists() {
                return Ok(None); // the controller is not enabled down here
            }
            let doing = || format!("watch {}", file.display());
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).doing(doing)?;
            inotify.add_watch(&file, AddWatchFlags::IN_MODIFY).doing(doing)?;
            (file, OwnedFd::from(inotify))
        } else {
            let file = dir.join("memory.oom_control");
            let doing = || format!("watch {}", file.display());
            let control = fd::open_path(&file, OFlag::O_RDONLY).doing(doing)?;
            let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).doing(doing)?;
            let line = format!("{} {}", wake.as_fd().as_raw_fd(), control.as_raw_fd());
            std::fs::write(dir.join("cgroup.event_control"), line).doing(doing)?;
            (file, OwnedFd::from(wake))
        };
        let seen = kills(&file);
        Ok(Some(Watch { wake, file, seen }))
    }

    /// Whether there was a kill since the last time. A cgroup that is being removed wakes us too, without one.
    pub(crate) fn fired(&mut self) -> bool {
        let mut buffer = [0_u8; 4096];
        loop {
            match fd::read(&self.wake, &mut buffer) {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        let kills = kills(&self.file);
        let fired = kills > self.seen;
        self.seen = self.seen.max(kills);
        fired
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn kills(file: &std::path::Path) -> u64 {
    counters(file).get("oom_kill").copied().unwrap_or(0)
}
