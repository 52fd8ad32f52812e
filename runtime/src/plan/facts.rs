//! What is so on this host and for this caller: measured once by `host::facts`, a plain value afterwards.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Process, Spec};

use super::caps::CapSet;

/// Everything that a decision may depend on beside the configuration and the command line.
#[derive(Debug, Clone)]
pub struct Facts {
    pub caller: Caller,
    /// Zero when not of interest.
    pub kernel: Kernel,
    /// None active when not of interest.
    pub security: Security,
    /// None mounted when not of interest.
    pub cgroups: Cgroups,
}

/// What a plan will depend on beside the caller: the rest need not be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// In the kernel's release.
    pub kernel: bool,
    /// In the security modules.
    pub security: bool,
    /// In the hierarchies, and where in them the caller is.
    pub cgroups: bool,
    /// In who makes a cgroup for limits.
    pub maker: bool,
}

impl Interest {
    pub const ALL: Self = Self { kernel: true, security: true, cgroups: true, maker: true };

    const NONE: Self = Self { kernel: false, security: false, cgroups: false, maker: false };

    /// For a new container.
    pub fn of(spec: &Spec) -> Self {
        Self {
            kernel: has_clocks(spec) || super::rootfs::is_shared(spec),
            security: is_labelled(spec.process().as_ref()),
            cgroups: true,
            maker: has_limits(spec),
        }
    }

    /// For a process in a container that exists, whose cgroup is on record.
    pub fn of_joining(spec: &Spec, process: &Process) -> Self {
        Self { kernel: has_clocks(spec), security: is_labelled(Some(process)), ..Self::NONE }
    }
}

/// Kernels differ in time namespaces, and in shared roots.
fn has_clocks(spec: &Spec) -> bool {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    listed.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Time)
}

/// Anything but device rules, which go without a cgroup where the caller may not set them.
pub(super) fn has_limits(spec: &Spec) -> bool {
    let asked = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    asked.is_some_and(|mut resources| {
        resources.set_devices(None);
        resources != LinuxResources::default()
    })
}

fn is_labelled(process: Option<&Process>) -> bool {
    let given = |label: &Option<String>| label.as_ref().is_some_and(|label| !label.is_empty());
    process.is_some_and(|process| given(process.apparmor_profile()) || given(process.selinux_label()))
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    pub major: u32,
    pub minor: u32,
}

/// The security modules that are active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// `Caller` when not of interest.
    pub maker: Maker,
}

/// Who makes the cgroup of a container that names no place for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Maker {
    /// Beside the caller's own; or nobody.
    #[default]
    Caller,
    /// An ordinary caller on a v2 host stands where he may make none, as in the session of an ssh login, and his systemd answers.
    Systemd,
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
