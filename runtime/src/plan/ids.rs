//! The user and group mappings of a new user namespace, and who may write them.

use oci_spec::runtime::{Linux, LinuxIdMapping};

use super::caps;
use super::facts::{Facts, Setgroups};
use super::namespaces::Namespaces;
use super::text;
use crate::error::Error;

/// One line of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// The mappings of a new user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    pub users: Map,
    pub groups: Map,
    /// `Deny` is written before an unprivileged group mapping: the kernel insists.
    pub setgroups: Setgroups,
}

impl Ids {
    /// What user 0 and group 0 of the container are outside, where they are mapped.
    pub fn root_outside(&self) -> Option<(u32, u32)> {
        Some((self.users.outside(0)?, self.groups.outside(0)?))
    }
}

/// One mapping file's lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    pub lines: Vec<Mapping>,
    pub writer: Writer,
}

impl Map {
    /// The outside id of one that is inside.
    pub fn outside(&self, inside: u32) -> Option<u32> {
        self.lines.iter().find_map(|line| {
            let distance = inside.checked_sub(line.inside)?;
            (distance < line.count).then(|| line.outside.checked_add(distance)).flatten()
        })
    }
}

/// Who writes a mapping file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The runtime itself: it is privileged, or maps nothing but the caller.
    Direct,
    /// `newuidmap` or `newgidmap`, which check /etc/subuid and /etc/subgid.
    Setuid,
}

/// None where no user namespace is made.
pub fn plan(linux: &Linux, namespaces: &Namespaces, facts: &Facts) -> Result<Option<Ids>, Error> {
    let users = lines(linux.uid_mappings().as_deref(), "linux.uidMappings")?;
    let groups = lines(linux.gid_mappings().as_deref(), "linux.gidMappings")?;
    if !namespaces.makes(libc::CLONE_NEWUSER) {
        return match users.is_empty() && groups.is_empty() || namespaces.joins(libc::CLONE_NEWUSER) {
            true => Ok(None),
            false => Err(text::invalid("linux.uidMappings", "no user namespace is asked for")),
        };
    }
    if users.is_empty() {
        return Err(text::invalid("linux.uidMappings", "a user namespace needs a mapping"));
    }
    if groups.is_empty() {
        return Err(text::invalid("linux.gidMappings", "a user namespace needs a mapping"));
    }
    let caller = &facts.caller;
    let users = Map { writer: writer(&users, caller.uid, caller.may(caps::SETUID)), lines: users };
    let privileged = caller.may(caps::SETGID);
    let groups = Map { writer: writer(&groups, caller.gid, privileged), lines: groups };
    let setgroups = match groups.writer == Writer::Direct && !privileged {
        true => Setgroups::Deny,
        false => caller.setgroups,
    };
    Ok(Some(Ids { users, groups, setgroups }))
}

/// Checked lines of a mapping from the configuration.
pub fn lines(maps: Option<&[LinuxIdMapping]>, field: &str) -> Result<Vec<Mapping>, Error> {
    let maps = maps.unwrap_or_default();
    // The kernel's limit since 4.15; absurd lengths end here and not in a buffer.
    if maps.len() > 340 {
        return Err(text::invalid(field, format!("{} lines; the kernel takes at most 340", maps.len())));
    }
    maps.iter().enumerate().map(|(at, map)| line(map).ok_or_else(|| bad_line(field, at))).collect()
}

fn line(map: &LinuxIdMapping) -> Option<Mapping> {
    let line = Mapping { inside: map.container_id(), outside: map.host_id(), count: map.size() };
    line.inside.checked_add(line.count)?;
    line.outside.checked_add(line.count)?;
    (line.count > 0).then_some(line)
}

fn bad_line(field: &str, at: usize) -> Error {
    text::invalid(format!("{field}[{at}]"), "the size must be 1 or more and the range end below 2^32")
}

fn writer(lines: &[Mapping], own: u32, privileged: bool) -> Writer {
    let only_own = matches!(lines, [one] if one.count == 1 && one.outside == own);
    match privileged || only_own {
        true => Writer::Direct,
        false => Writer::Setuid,
    }
}
