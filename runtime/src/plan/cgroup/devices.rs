//! Which devices the container may use: the rules of the configuration, then those that every container needs.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::Error;
use crate::plan::Need;
use crate::plan::text::invalid;

/// Rules in their order; a later one overrides an earlier one. Before the first everything is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    pub rules: Vec<Rule>,
    /// An unprivileged caller cannot install a filter, and cannot open devices of the host either.
    pub enforce: Need,
}

/// One rule; None is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    pub kind: Option<Type>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

/// Character or block devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Char,
    Block,
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, mknod: true };
    const MKNOD: Self = Self { read: false, write: false, mknod: true };

    /// In the numbers of `BPF_DEVCG_ACC_*` (linux/bpf.h).
    pub fn bits(self) -> u8 {
        u8::from(self.mknod) | u8::from(self.read) << 1 | u8::from(self.write) << 2
    }

    /// Of those numbers.
    pub fn of_bits(bits: u8) -> Self {
        Self { read: bits & 2 != 0, write: bits & 4 != 0, mknod: bits & 1 != 0 }
    }

    fn parse(text: &str) -> Option<Self> {
        // An `a` says nothing, in runc either.
        let known = text.chars().all(|c| matches!(c, 'r' | 'w' | 'm' | 'a'));
        let [read, write, mknod] = ['r', 'w', 'm'].map(|c| text.contains(c));
        (known && !text.is_empty()).then_some(Self { read, write, mknod })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (has, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            f.write_str(if has { letter } else { "" })?;
        }
        Ok(())
    }
}

/// As v1's files `devices.allow` and `devices.deny` take it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => "a",
            Some(Type::Char) => "c",
            Some(Type::Block) => "b",
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// Nodes of any kind may be made, since they are of no use without the right to open them; then the default devices, the
/// terminals of the container and its /dev/ptmx; and /dev/net/tun, without which no VPN runs in a container: it is of no use without
/// rights over a network (runc's list).
const ALWAYS: [Rule; 11] = [
    Rule { allow: true, kind: Some(Type::Char), major: None, minor: None, access: Access::MKNOD },
    Rule { allow: true, kind: Some(Type::Block), major: None, minor: None, access: Access::MKNOD },
    character(1, Some(3)),
    character(1, Some(8)),
    character(1, Some(7)),
    character(5, Some(0)),
    character(1, Some(5)),
    character(1, Some(9)),
    character(136, None),
    character(5, Some(2)),
    character(10, Some(200)),
];

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind: Some(Type::Char), major: Some(major), minor, access: Access::ALL }
}

/// For a container with these rules.
pub fn plan(asked: &[LinuxDeviceCgroup], enforce: Need) -> Result<Devices, Error> {
    let mut rules = rules(asked)?;
    rules.extend(ALWAYS);
    Ok(Devices { rules, enforce })
}

/// The rules of the configuration.
pub fn rules(asked: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Error> {
    asked.iter().enumerate().map(|(at, rule)| one(rule, &format!("linux.resources.devices[{at}]"))).collect()
}

fn one(asked: &LinuxDeviceCgroup, field: &str) -> Result<Rule, Error> {
    let kind = match asked.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Type::Char),
        Some(LinuxDeviceType::B) => Some(Type::Block),
        Some(LinuxDeviceType::P) => return Err(invalid(format!("{field}.type"), "must be a, c or b")),
    };
    let number = |value: Option<i64>, name: &str| match value {
        None | Some(-1) => Ok(None),
        Some(value) => u32::try_from(value)
            .map(Some)
            .map_err(|_| invalid(format!("{field}.{name}"), "must be -1 or fit 32 bits")),
    };
    let access = match asked.access().as_deref() {
        // A rule about all that lost its access would open, or close, everything; runc refuses it too.
        None | Some("") => return Err(invalid(format!("{field}.access"), "must not be empty")),
        Some(text) => Access::parse(text)
            .ok_or_else(|| invalid(format!("{field}.access"), "must be made of r, w and m"))?,
    };
    // A rule about all types is about all numbers and every access, as it is in v1's kernel interface.
    let (major, minor, access) = match kind {
        None => (None, None, Access::ALL),
        Some(_) => (number(asked.major(), "major")?, number(asked.minor(), "minor")?, access),
    };
    Ok(Rule { allow: asked.allow(), kind, major, minor, access })
}
