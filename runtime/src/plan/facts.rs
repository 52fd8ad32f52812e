//! What is so on this host and for this caller: measured once by `host::facts`, a plain value afterwards.

use super::caps::CapSet;

/// Everything that a decision may depend on beside the configuration and the command line.
#[derive(Debug, Clone)]
pub struct Facts {
    pub caller: Caller,
    pub kernel: Kernel,
    pub security: Security,
}

/// Who runs the runtime.
#[derive(Debug, Clone)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub effective: CapSet,
    pub bounding: CapSet,
    pub user_ns: UserNs,
    /// Whether `setgroups` is allowed in the caller's user namespace.
    pub setgroups: Setgroups,
    /// Whether the caller's user namespace owns its network namespace: only then may it mount a sysfs.
    pub network: Ownership,
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
