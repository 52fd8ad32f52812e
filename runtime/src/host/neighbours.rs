//! Who else is in a container's cgroup: a directory that was empty when it was taken may have been another's before, or become another's.
//!
//! Invariant: nobody is killed for being where a container was that has ended.

use std::path::Path;

use super::cgroup;
use crate::error::{Error, Kind};
use crate::state::{Cgroup, ContainerId, Found, Intent, Record, Root, start_time};

/// Another container below the same root directory that lives in the cgroup of this one, or below it. `dir` is the state directory.
/// `deed` is what is not done then.
pub fn refuse(dir: &Path, record: &Record, deed: &str) -> Result<(), Error> {
    match neighbour(dir, &record.cgroup)? {
        None => Ok(()),
        Some(id) => Err(in_use(record, deed).hint(format!("container {id} is in it"))),
    }
}

/// What is said of a cgroup that others have.
pub fn in_use(record: &Record, deed: &str) -> Error {
    let path = record.cgroup.dirs.first().map(|dir| dir.path.display().to_string()).unwrap_or_default();
    Error::new(Kind::Invalid, format!("{deed} {path}: processes that are not the container's are in it"))
}

/// Whether the cgroup that a killed runtime was about to make or to join is somebody else's.
pub fn have(dir: &Path, intent: &Intent) -> Result<bool, Error> {
    let pids = cgroup::procs(&intent.cgroup)?;
    // Whoever was there before the runtime was is none of its making.
    let is_older = |pid: &i32| start_time(*pid).is_some_and(|start| start < intent.by.start);
    Ok(!pids.is_empty() && (pids.iter().any(is_older) || neighbour(dir, &intent.cgroup)?.is_some()))
}

fn neighbour(dir: &Path, own: &Cgroup) -> Result<Option<ContainerId>, Error> {
    let Some(above) = dir.parent() else { return Ok(None) };
    let root = Root::new(above)?;
    let is_other = |id: &ContainerId| dir.file_name().is_none_or(|name| name != id.as_str());
    let lives_here = |id: &ContainerId| {
        let other = match root.find(id) {
            Ok(Found::Container(record)) if record.init.is_alive() => record.cgroup,
            Ok(Found::Intent(intent)) if intent.by.is_alive() => intent.cgroup,
            _ => return false,
        };
        other.dirs.iter().any(|other| own.dirs.iter().any(|dir| other.path.starts_with(&dir.path)))
    };
    Ok(root.ids()?.into_iter().find(|id| is_other(id) && lives_here(id)))
}
