//! Capability sets: what was asked for, cut down to what the process can be given.

use oci_spec::runtime::{Capability, LinuxCapabilities};

use Capability as C;

/// In the kernel's numbering: the position is the number (linux/capability.h).
const ORDER: [Capability; 41] = [
    C::Chown,
    C::DacOverride,
    C::DacReadSearch,
    C::Fowner,
    C::Fsetid,
    C::Kill,
    C::Setgid,
    C::Setuid,
    C::Setpcap,
    C::LinuxImmutable,
    C::NetBindService,
    C::NetBroadcast,
    C::NetAdmin,
    C::NetRaw,
    C::IpcLock,
    C::IpcOwner,
    C::SysModule,
    C::SysRawio,
    C::SysChroot,
    C::SysPtrace,
    C::SysPacct,
    C::SysAdmin,
    C::SysBoot,
    C::SysNice,
    C::SysResource,
    C::SysTime,
    C::SysTtyConfig,
    C::Mknod,
    C::Lease,
    C::AuditWrite,
    C::AuditControl,
    C::Setfcap,
    C::MacOverride,
    C::MacAdmin,
    C::Syslog,
    C::WakeAlarm,
    C::BlockSuspend,
    C::AuditRead,
    C::Perfmon,
    C::Bpf,
    C::CheckpointRestore,
];

pub const CHOWN: u8 = 0;
pub const SETGID: u8 = 6;
pub const SETUID: u8 = 7;
pub const SYS_ADMIN: u8 = 21;
pub const SYS_RESOURCE: u8 = 24;
pub const MKNOD: u8 = 27;

/// A set of capabilities, bit by the kernel's number.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSet(pub u64);

impl CapSet {
    /// Every capability, those of later kernels included.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether the capability of this number is in the set.
    pub fn has(self, cap: u8) -> bool {
        self.0 >> cap & 1 == 1
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in either.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The numbers in the set, ascending.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |cap| self.has(*cap))
    }

    /// The set of one capability.
    pub fn of(cap: Capability) -> Self {
        let number = ORDER.iter().position(|known| *known == cap);
        Self(number.map_or(0, |number| 1 << number))
    }

    fn from_spec(set: Option<&oci_spec::runtime::Capabilities>) -> Self {
        set.into_iter().flatten().fold(Self::default(), |sum, cap| sum.with(Self::of(*cap)))
    }
}

impl std::fmt::Debug for CapSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let names = self.numbers().map(|n| match ORDER.get(usize::from(n)) {
            Some(cap) => cap.to_string(),
            None => n.to_string(),
        });
        f.write_str(&names.collect::<Vec<_>>().join(" "))
    }
}

/// The five sets of a process, and which of the bounding set's members init has to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    pub drop_from_bounding: CapSet,
    pub permitted: CapSet,
    pub effective: CapSet,
    pub inheritable: CapSet,
    pub ambient: CapSet,
}

/// Cuts what was asked for down to `available`, init's own bounding set: the specification lets a runtime ignore what
/// cannot be granted, and says so in a warning. An absent `capabilities` means none at all.
pub fn plan(asked: Option<&LinuxCapabilities>, available: CapSet, warnings: &mut Vec<String>) -> Caps {
    let set = |get: fn(&LinuxCapabilities) -> Option<&oci_spec::runtime::Capabilities>| {
        CapSet::from_spec(asked.and_then(get))
    };
    let bounding = set(|caps| caps.bounding().as_ref());
    let permitted = set(|caps| caps.permitted().as_ref());
    let effective = set(|caps| caps.effective().as_ref());
    let inheritable = set(|caps| caps.inheritable().as_ref());
    let ambient = set(|caps| caps.ambient().as_ref());
    let all = bounding.with(permitted).with(effective).with(inheritable).with(ambient);
    let refused = all.without(available);
    if refused != CapSet::default() {
        warnings.push(format!("capabilities that cannot be granted here are left out: {refused:?}"));
    }
    let permitted = permitted.and(available);
    let inheritable = inheritable.and(available);
    // The kernel raises only what is permitted and inheritable.
    let raised = ambient.and(permitted).and(inheritable);
    for number in ambient.and(available).without(raised).numbers() {
        let cap = CapSet(1 << number);
        warnings.push(format!(
            "can't raise ambient capability CAP_{cap:?}: it is not both permitted and inheritable"
        ));
    }
    Caps {
        drop_from_bounding: known().and(available).without(bounding),
        permitted,
        effective: effective.and(permitted),
        inheritable,
        ambient: raised,
    }
}

/// The capabilities that this program knows by name.
fn known() -> CapSet {
    CapSet((1 << ORDER.len()) - 1)
}

/// Reads a name as `exec --cap` takes it: with or without the prefix, in either case.
pub fn parse(name: &str) -> Option<Capability> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

/// Every name, in the kernel's order.
pub fn names() -> Vec<String> {
    ORDER.iter().map(|cap| format!("CAP_{cap}")).collect()
}
