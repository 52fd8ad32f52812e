//! The control groups of containers: named so that those of a killed builder can be told and removed.
//!
//! Everything else of a container goes with the builder's namespaces; a control group is a directory and stays.

use std::fs;
use std::path::Path;

use crate::sys::userns::{self, Outer};

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "coracle-run-";

/// The group of a container; `None` where the builder may make none and the runtime decides.
#[must_use]
pub fn of(id: &str) -> Option<String> {
    let Outer { pid, start } = userns::outer();
    userns::is_initial().then(|| format!("/{PREFIX}{pid}-{start}-{id}"))
}

/// Removes the groups of builders that were killed. Called where the machine's pids are seen.
///
/// What cannot be removed (somebody still is in it, or the group is another user's) stays.
pub fn sweep() {
    let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([Path::new(ROOT).to_owned()]) {
        for group in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
            if group.file_name().to_str().and_then(owner).is_some_and(|owner| !lives(owner)) {
                drop(fs::remove_dir(group.path()));
            }
        }
    }
}

fn lives(owner: Outer) -> bool {
    userns::start_time(&owner.pid.to_string()) == Some(owner.start)
}

/// Who made a group of this name; `None` when it is none of ours.
fn owner(name: &str) -> Option<Outer> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    Some(Outer { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_an_owner() {
        let found = owner("coracle-run-12-345-coracle-00ff");
        assert_eq!(found, Some(Outer { pid: 12, start: 345 }));
        for other in ["coracle-run-", "coracle-run-x-1-a", "user.slice", "coracle-run-1"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
