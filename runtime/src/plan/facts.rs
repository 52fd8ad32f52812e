//! What is so on this host and for this caller: measured once by `host::facts`, a plain value afterwards.

use std::path::PathBuf;

use super::caps::CapSet;

/// Everything that a decision may depend on beside the configuration and the command line.
#[derive(Debug, Clone)]
pub struct Facts {
    pub caller: Caller,
    pub kernel: Kernel,
    pub security: Security,
    pub cgroups: Cgroups,
}

/// Who runs the runtime.
#[derive(Debug, Clone)]
pub struct Caller {
    pub uid: u32,
    /// The same user as the world outside of the caller's user namespace counts.
    pub outer_uid: u32,
    pub gid: u32,
    pub effective: CapSet,
    pub bounding: CapSet,
    pub user_ns: UserNs,
    /// Whether `setgroups` is allowed in the caller's user namespace.
    pub setgroups: Setgroups,
    /// Whether the caller's user namespace owns its network namespace: only then may it mount a sysfs.
    pub network: Ownership,
    /// Signals that the caller ignores, bit by number minus one: init sets them back.
    pub ignored_signals: u64,
}

impl Caller {
    /// Holds `cap` in its own user namespace.
    pub fn may(&self, cap: u8) -> bool {
        self.effective.has(cap)
    }

    /// Holds `cap` over the host itself: device nodes and raised limits need that.
    pub fn may_on_host(&self, cap: u8) -> bool {
        self.user_ns == UserNs::Initial && self.may(cap)
    }
}

/// The caller's user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserNs {
    Initial,
    Nested,
}

/// `/proc/self/setgroups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setgroups {
    Allow,
    Deny,
    /// Of a user namespace that will be joined: who made it has decided.
    Unknown,
}

/// Whose a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    Ours,
    Foreign,
}

/// The kernel's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    pub major: u32,
    pub minor: u32,
}

/// The security modules that are active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    pub apparmor: bool,
    pub selinux: bool,
}

/// Where cgroups are mounted on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// The hierarchies of v1; none on a pure v2 host.
    pub v1: Vec<Hierarchy>,
    /// The one of v2: all there is, or beside v1 on a hybrid host.
    pub v2: Option<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// As /proc/self/cgroup names them (`cpu`, `name=systemd`); empty for v2.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    /// The caller's own cgroup, absolute below the mount.
    pub own: PathBuf,
}
