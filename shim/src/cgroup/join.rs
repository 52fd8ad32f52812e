//! The option `ShimCgroup`: the shim itself in a cgroup of the operator's choice.

use std::path::Path;

use nix::unistd::Pid;

use super::{TOP, unified_host};
use crate::error::{Doing, Error, Kind};

/// Puts `pid` into `cgroup`, which must exist: on v1 in every hierarchy that has it.
pub(crate) fn join(cgroup: &str, pid: Pid) -> Result<(), Error> {
    let inside = cgroup.trim_start_matches('/');
    let dirs = if unified_host() {
        vec![Path::new(TOP).join(inside)]
    } else {
        let entries = std::fs::read_dir(TOP).doing(|| format!("read {TOP}"))?;
        let tops = entries.filter_map(|entry| Some(entry.ok()?.path()));
        tops.map(|top| top.join(inside)).filter(|dir| dir.join("cgroup.procs").exists()).collect()
    };
    if dirs.is_empty() {
        return Err(Error::new(Kind::Invalid, format!("join cgroup {cgroup}: there is no such cgroup")));
    }
    for dir in dirs {
        let file = dir.join("cgroup.procs");
        std::fs::write(&file, pid.to_string())
            .doing(|| format!("join cgroup {cgroup}: write {}", file.display()))?;
    }
    Ok(())
}
