//! Stops everything inside without a signal, and lets it go on.

use std::path::Path;
use std::time::{Duration, Instant};

use super::file;
use crate::error::{Error, Kind};
use crate::state;

/// How long processes in the kernel may take to come to a stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory that freezes, and the words of its version.
enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

fn freezer(record: &state::Cgroup) -> Option<Freezer<'_>> {
    let v1 = record.dirs.iter().find(|dir| dir.controllers.iter().any(|own| own == "freezer"));
    let v2 = record.dirs.iter().find(|dir| dir.version == 2);
    match (v1, v2) {
        (Some(dir), _) => Some(Freezer::V1(&dir.path)),
        (None, Some(dir)) => Some(Freezer::V2(&dir.path)),
        (None, None) => None,
    }
}

fn needed(record: &state::Cgroup) -> Result<Freezer<'_>, Error> {
    freezer(record).ok_or_else(|| {
        Error::new(Kind::Unsupported, "freeze the container: it has no cgroup that can freeze")
            .hint("without root and outside of a delegated cgroup it has one if it was created with a limit, or --systemd-cgroup")
    })
}

/// Returns once everything has stopped.
pub fn freeze(record: &state::Cgroup) -> Result<(), Error> {
    match needed(record)? {
        Freezer::V2(dir) => {
            file::write(dir, "cgroup.freeze", "1")?;
            // What cannot stop is left as it was, as on v1: who would enter would stop.
            wait(dir, "frozen 1").inspect_err(|_| drop(file::write(dir, "cgroup.freeze", "0")))
        }
        Freezer::V1(dir) => {
            let deadline = Instant::now() + PATIENCE;
            loop {
                // Writing again takes in what was forked meanwhile; v1 has no event to wait for.
                file::write(dir, "freezer.state", "FROZEN")?;
                match file::read(dir, "freezer.state")?.as_str() {
                    "FROZEN" => return Ok(()),
                    _ if Instant::now() > deadline => {
                        drop(file::write(dir, "freezer.state", "THAWED"));
                        return Err(Error::new(Kind::System, "unable to freeze"));
                    }
                    _ => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
    }
}

/// Lets everything go on.
pub fn thaw(record: &state::Cgroup) -> Result<(), Error> {
    match needed(record)? {
        Freezer::V2(dir) => file::write(dir, "cgroup.freeze", "0"),
        Freezer::V1(dir) => file::write(dir, "freezer.state", "THAWED"),
    }
}

/// Whether it is stopped, or stopping. A container without a freezer never is.
pub fn is_frozen(record: &state::Cgroup) -> Result<bool, Error> {
    let text = match freezer(record) {
        None => None,
        Some(Freezer::V1(dir)) => file::read_if_there(dir, "freezer.state")?,
        Some(Freezer::V2(dir)) => file::read_if_there(dir, "cgroup.freeze")?,
    };
    Ok(text.is_some_and(|text| text == "1" || text.starts_with("FR")))
}

/// Whether whoever enters stops there: by an order to this cgroup, or to one above it.
pub fn stops_all(record: &state::Cgroup) -> Result<bool, Error> {
    for dir in &record.dirs {
        let stops = match dir.version {
            2 => file::read_if_there(&dir.path, "cgroup.events")?
                .is_some_and(|text| text.lines().any(|line| line == "frozen 1")),
            _ if dir.controllers.iter().any(|own| own == "freezer") => {
                file::read_if_there(&dir.path, "freezer.state")?.is_some_and(|text| text.starts_with("FR"))
            }
            _ => false,
        };
        if stops {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Until `cgroup.events` says so: the kernel notifies whoever polls it (cgroup-v2.rst).
pub(super) fn wait(dir: &Path, line: &str) -> Result<(), Error> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;
    let path = dir.join("cgroup.events");
    let wrong =
        |source: std::io::Error| Error::system(format!("wait for {line:?} in {}", path.display()), source);
    let mut events = std::fs::File::open(&path).map_err(wrong)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        events.rewind().and_then(|()| events.read_to_string(&mut text)).map_err(wrong)?;
        if text.lines().any(|found| found == line) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(wrong(std::io::Error::from_raw_os_error(libc::ETIMEDOUT)));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(wrong(errno.into())),
        }
    }
}
