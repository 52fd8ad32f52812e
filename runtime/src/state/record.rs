//! The first line of a state file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::live::is_alive;

/// Raised whenever an older program could misread the record.
pub const VERSION: u32 = 1;

/// A container's state file begins with one of these.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Head {
    Intent(Intent),
    Record(Record),
}

/// Written before anything is created: what a killed runtime leaves behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    pub version: u32,
    /// The runtime that creates.
    pub by: Process,
    pub bundle: PathBuf,
    pub cgroup: Cgroup,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Rdt>,
}

/// A process, by pid and start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pub pid: i32,
    pub start: u64,
}

impl Process {
    /// Of a process that was just made or met.
    pub fn of(pid: i32) -> Option<Self> {
        super::start_time(pid).map(|start| Self { pid, start })
    }

    /// This one.
    pub fn own() -> Option<Self> {
        super::own().map(|(pid, start)| Self { pid, start })
    }

    /// It is still that process, not another with the same pid.
    pub fn is_alive(self) -> bool {
        is_alive(self.pid, self.start)
    }
}

/// A container that exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    pub id: String,
    /// The specification's version in the configuration.
    pub oci_version: String,
    pub bundle: PathBuf,
    /// Absolute, on the host.
    pub rootfs: PathBuf,
    pub init: Process,
    /// RFC 3339, with nanoseconds, in UTC.
    pub created: String,
    /// Effective user of the creator.
    pub owner: u32,
    pub annotations: BTreeMap<String, String>,
    pub cgroup: Cgroup,
    #[serde(default)]
    pub pid_namespace: PidNamespace,
    /// What init's standard streams were at first, as the links in /proc/PID/fd show them; none with a terminal. A pipe that it has
    /// at a later time need not be the caller's.
    #[serde(default)]
    pub streams: Vec<String>,
    #[serde(default)]
    pub clocks: Clocks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Rdt>,
    /// The last limit on memory and swap together that an update has set, 0 for none; before one, the configuration's holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_and_swap: Option<i64>,
}

/// Whether the container is in a time namespace that its configuration does not know of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Clocks {
    #[default]
    AsConfigured,
    /// One that a restore has made, so that clocks go on where they were.
    Restored,
}

/// Whether the end of init takes all others along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PidNamespace {
    #[default]
    Own,
    Shared,
}

/// A group of the resctrl file system; paths are absolute, on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rdt {
    /// Where the file system is mounted.
    pub mount: PathBuf,
    pub group: PathBuf,
    /// Goes with the container.
    pub own: bool,
    /// The container's monitoring group, which goes too.
    pub monitor: Option<PathBuf>,
}

/// Where the container's processes are counted and limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    pub driver: Driver,
    /// Every directory, the one with `cgroup.procs` to read first.
    pub dirs: Vec<CgroupDir>,
}

/// One directory of a cgroup; on v1 each hierarchy has its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupDir {
    /// Generation of the interface, 1 or 2 (cgroups(7)).
    pub version: u8,
    /// Controllers; empty on v2, where one directory has all.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// Absolute, on the host.
    pub path: PathBuf,
}

/// Who makes and removes the cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Driver {
    /// None has been made.
    #[default]
    Disabled,
    Cgroupfs,
    /// A transient scope; `user` tells which of the two buses.
    Systemd {
        unit: String,
        user: bool,
    },
}
