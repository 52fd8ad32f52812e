//! Real engines over the runtime under test: podman, Docker, containerd through its own shim, buildah. Each is started by the
//! test itself, with stores and sockets of its own; cases that share an engine are one group.
//!
//! Invariant: an engine touches nothing of the host's own engines, and a case that fails with the engine's own runtime is wrong
//! unless `known/` says why.

mod apart;
mod buildah;
mod containerd;
mod docker;
mod engine;
mod podman;

use crate::case::Case;

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

/// The cases whose name contains one of the filters, all without one; by group.
pub(crate) fn chosen(filter: &[String]) -> Vec<Vec<&'static Case>> {
    let wanted = |case: &&Case| filter.is_empty() || filter.iter().any(|f| case.name.contains(f.as_str()));
    let groups = ALL.iter().map(|table| table.iter().filter(wanted).collect::<Vec<_>>());
    groups.filter(|group| !group.is_empty()).collect()
}
