//! The cases, one file a topic, each file with its table.
//!
//! Invariant: a case asserts what a user or an engine can observe, through the runtime's command line and the probe alone.

mod binds;
mod budget;
mod caps;
mod cgroup_trees;
mod cgroups;
mod checkpoint;
mod cli_runc;
mod console;
mod device_rules;
mod errors;
mod escapes;
mod events;
mod exec;
mod faults;
mod flags;
mod hooks;
mod host_mounts;
mod json;
mod kernel;
mod labels;
mod lifecycle;
mod live_mounts;
mod mounts;
mod namespaces;
mod neighbours;
mod net_devices;
mod notify;
mod overwriting;
mod process;
mod redirects;
mod rootless;
mod rootless_cgroups;
mod sd_notify;
mod seccomp;
mod somebody;
mod state;
mod stuck;
mod sysctls;
mod systemd;
mod traps;

use crate::case::Case;

/// All tables, in the order of a container's life.
pub(crate) const ALL: &[&[Case]] = &[
    lifecycle::CASES,
    process::CASES,
    caps::CASES,
    namespaces::CASES,
    sysctls::CASES,
    host_mounts::CASES,
    mounts::CASES,
    binds::CASES,
    cgroups::CASES,
    cgroup_trees::CASES,
    neighbours::CASES,
    device_rules::CASES,
    systemd::CASES,
    seccomp::CASES,
    labels::CASES,
    notify::CASES,
    hooks::CASES,
    console::CASES,
    exec::CASES,
    events::CASES,
    sd_notify::CASES,
    errors::CASES,
    json::CASES,
    flags::CASES,
    cli_runc::CASES,
    rootless::CASES,
    rootless_cgroups::CASES,
    escapes::CASES,
    traps::CASES,
    redirects::CASES,
    faults::CASES,
    stuck::CASES,
    state::CASES,
    checkpoint::CASES,
    live_mounts::CASES,
    net_devices::CASES,
    kernel::CASES,
    budget::CASES,
];
