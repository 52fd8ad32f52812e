//! Real engines over the runtime under test: podman, Docker, containerd through its own shim, buildah. Each is started by the
//! test itself, with stores and sockets of its own; cases that share an engine are one group.
//!
//! Invariant: an engine touches nothing of the host's own engines, and a case that fails with the engine's own runtime is wrong
//! unless `known/` says why.

pub(crate) mod apart;
mod buildah;
mod containerd;
pub(crate) mod docker;
pub(crate) mod engine;
mod podman;

use crate::case::Case;
use crate::needs::Host;

/// All groups.
pub(crate) const ALL: &[&[Case]] = &[
    podman::life::CASES,
    podman::shape::CASES,
    podman::network::CASES,
    docker::life::CASES,
    docker::shape::CASES,
    containerd::CASES,
    buildah::CASES,
];

/// What an emulated machine runs when nobody asks for more: what systemd, cgroup v2, a delegated cgroup, the machine's security
/// modules and the engine's age can change.
const TELLING: &[&str] = &[
    "engines/podman-run",
    "engines/podman-run-terminal",
    "engines/podman-exec",
    "engines/podman-pause",
    "engines/podman-checkpoint",
    "engines/podman-stats",
    "engines/podman-update",
    "engines/podman-privileged",
    "engines/podman-device-cgroup",
    "engines/podman-memory",
    "engines/podman-pids-limit",
    "engines/podman-userns-keep-id",
    "engines/podman-userns-auto-map",
    "engines/podman-cgroups-disabled",
    "engines/podman-network-pasta",
    "engines/podman-pod",
    "engines/docker-run",
    "engines/docker-exec",
    "engines/docker-build",
    "engines/docker-privileged",
    "engines/docker-device",
    "engines/docker-memory-and-pids",
    "engines/docker-update-and-stats",
    "engines/ctr-run",
    "engines/ctr-exec",
    "engines/ctr-metrics-and-ps",
    "engines/buildah-bud",
];

/// Why the others are not run there.
pub(crate) const EMULATED: &str = "the processor is emulated: `--filter engines/` takes the minutes for it";

/// The cases whose name contains one of the filters, by group; without a filter all that this machine has the time for, and
/// apart the others.
pub(crate) fn chosen(filter: &[String], host: &Host) -> (Vec<Vec<&'static Case>>, Vec<&'static Case>) {
    let few = filter.is_empty() && host.emulated();
    let wanted = |case: &&Case| filter.is_empty() || filter.iter().any(|f| case.name.contains(f.as_str()));
    let now = |case: &&Case| wanted(case) && (!few || TELLING.contains(&case.name));
    let groups = ALL.iter().map(|table| table.iter().filter(now).collect::<Vec<_>>());
    let others = ALL.iter().copied().flatten().filter(|case| wanted(case) && !now(case)).collect();
    (groups.filter(|group| !group.is_empty()).collect(), others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_telling_case_is_there() {
        for name in TELLING {
            assert!(ALL.iter().copied().flatten().any(|case| case.name == *name), "no case {name}");
        }
    }
}
