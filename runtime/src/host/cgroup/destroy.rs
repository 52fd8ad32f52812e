//! Removes a cgroup that nobody is in any more.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{UnlinkatFlags, unlinkat};

use super::freeze::wait;
use super::tree::innermost_first;
use super::{bus, systemd};
use crate::error::Error;
use crate::state;

/// How long the last process may take to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every directory, with what was made below it. One that is gone already is no error; a hierarchy's own is nobody's to remove.
pub fn destroy(record: &state::Cgroup) -> Result<(), Error> {
    let mut first = match &record.driver {
        // A unit of that name somewhere else is not the one that was recorded.
        state::Driver::Systemd { unit, user } => match record.dirs.iter().any(|dir| dir.path.is_dir()) {
            true => systemd::stop(unit, bus(*user)),
            false => {
                systemd::forget(unit, bus(*user));
                Ok(())
            }
        },
        _ => Ok(()),
    };
    for dir in record.dirs.iter().filter(|dir| dir.path != dir.mount) {
        first = first.and(remove_tree(&dir.path));
    }
    first
}

/// The short way for a container that has ended: whether every directory is gone, because nobody was inside.
pub fn remove_if_empty(record: &state::Cgroup) -> bool {
    let gone = |dir: &state::CgroupDir| match std::fs::remove_dir(&dir.path) {
        Ok(()) => true,
        Err(source) => source.kind() == ErrorKind::NotFound,
    };
    record.driver == state::Driver::Cgroupfs && record.dirs.iter().all(gone)
}

/// Children first: `rmdir` is the only thing that takes a cgroup away. A process that has just ended holds its cgroup a little longer
/// than its pid.
pub(super) fn remove_tree(dir: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if remove_if_there(std::fs::remove_dir(dir)).is_ok() {
            return Ok(());
        }
        let removed = innermost_first(dir, &mut |parent, name| {
            remove_if_there(unlinkat(parent, name, UnlinkatFlags::RemoveDir).map_err(Into::into))
        });
        match removed.and_then(|()| remove_if_there(std::fs::remove_dir(dir))) {
            Ok(()) => return Ok(()),
            Err(source) if source.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) if source.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                // On v2 the kernel tells when the last one has left; v1 has nothing to wait for.
                if wait(dir, "populated 0").is_err() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Err(source) => return Err(Error::system(format!("remove cgroup {}", dir.display()), source)),
        }
    }
}

fn remove_if_there(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
