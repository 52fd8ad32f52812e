//! Which namespaces are made, which are joined, and at which moment.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType as Type};

use super::facts::{Caller, Facts, Kernel, Ownership};
use super::{caps, text};
use crate::error::{Error, Kind};

/// A namespace of another process, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    pub flag: i32,
    pub path: PathBuf,
}

/// The namespaces of the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// For the clone: every new namespace but cgroup and time.
    pub clone: i32,
    /// Made by the host while init is at work, and entered by init when it has to: the network's takes as long as all the others.
    pub beside: i32,
    /// User and pid: entered by a go-between before the clone, so that the new namespaces belong to that user namespace.
    pub join_before: Vec<Join>,
    /// All others: entered by init.
    pub join_inside: Vec<Join>,
    /// For init: a cgroup namespace is rooted where its maker is, and the clone still counts as the parent's place.
    /// A time namespace takes its offsets only before anything runs in it.
    pub unshare_inside: i32,
    /// For the go-between: before Linux 6.3 only a process that is born later is in the time namespace that is made.
    pub unshare_before: i32,
    /// Clock, seconds, nanoseconds.
    pub time_offsets: Vec<(String, i64, u32)>,
}

impl Namespaces {
    /// A new namespace of this kind is made.
    pub fn makes(&self, flag: i32) -> bool {
        (self.clone | self.beside | self.unshare_inside | self.unshare_before) & flag != 0
    }

    /// A namespace of this kind is entered by path.
    pub fn joins(&self, flag: i32) -> bool {
        self.join_before.iter().chain(&self.join_inside).any(|join| join.flag == flag)
    }

    /// The container has one of its own or of others, not the caller's.
    pub fn has(&self, flag: i32) -> bool {
        self.makes(flag) || self.joins(flag)
    }

    /// The user namespace that is entered by path.
    pub fn joined_user(&self) -> Option<&Path> {
        let user = self.join_before.iter().find(|join| join.flag == libc::CLONE_NEWUSER)?;
        Some(&user.path)
    }

    /// The network's is made beside where nobody can tell: it belongs to the caller's user namespace, which has to have a right to its
    /// own network for the way back, and no process of the container is there that could look into the host's by way of init.
    pub(super) fn part_network(&mut self, caller: &Caller) {
        let ours = caller.may(caps::SYS_ADMIN) && caller.network == Ownership::Ours;
        let alone = self.clone & libc::CLONE_NEWPID != 0 && !self.user_is_foreign();
        if ours && alone {
            self.beside = self.clone & libc::CLONE_NEWNET;
            self.clone &= !libc::CLONE_NEWNET;
        }
    }

    /// An ordinary user has no right to it before there is a user namespace, which is made by the clone itself.
    fn make_time_early(&mut self, caller: &Caller) -> Result<(), Error> {
        if !caller.may(caps::SYS_ADMIN) && !self.joins(libc::CLONE_NEWUSER) {
            let text = "linux.namespaces: without root a time namespace needs Linux 6.3";
            return Err(Error::new(Kind::Unsupported, text));
        }
        self.unshare_inside &= !libc::CLONE_NEWTIME;
        self.unshare_before |= libc::CLONE_NEWTIME;
        Ok(())
    }

    /// Init runs in another user namespace than the caller.
    pub fn user_is_foreign(&self) -> bool {
        self.has(libc::CLONE_NEWUSER)
    }
}

/// The clone flag of a namespace's type.
pub fn flag(kind: Type) -> i32 {
    match kind {
        Type::Mount => libc::CLONE_NEWNS,
        Type::Cgroup => libc::CLONE_NEWCGROUP,
        Type::Uts => libc::CLONE_NEWUTS,
        Type::Ipc => libc::CLONE_NEWIPC,
        Type::User => libc::CLONE_NEWUSER,
        Type::Pid => libc::CLONE_NEWPID,
        Type::Network => libc::CLONE_NEWNET,
        Type::Time => libc::CLONE_NEWTIME,
    }
}

/// execve moves a process into the time namespace that it unshared since this release.
const TIME_ENTERED_BY_EXEC: Kernel = Kernel { major: 6, minor: 3 };

/// Sorts the namespaces by the moment at which they are entered.
pub fn plan(linux: &Linux, facts: &Facts) -> Result<Namespaces, Error> {
    let mut namespaces = Namespaces::default();
    let mut seen = 0;
    for (at, entry) in linux.namespaces().iter().flatten().enumerate() {
        let flag = flag(entry.typ());
        if seen & flag != 0 {
            return Err(text::invalid(format!("linux.namespaces[{at}]"), "the type is listed twice"));
        }
        seen |= flag;
        match entry.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => {
                add_join(&mut namespaces, Join { flag, path: text::absolute(path, "linux.namespaces.path")? })
            }
            None if flag & (libc::CLONE_NEWCGROUP | libc::CLONE_NEWTIME) != 0 => {
                namespaces.unshare_inside |= flag
            }
            None => namespaces.clone |= flag,
        }
    }
    if namespaces.joins(libc::CLONE_NEWNS) {
        return Err(Error::new(
            Kind::Unsupported,
            "linux.namespaces: to join a mount namespace, whose root would be replaced, is not supported",
        ));
    }
    namespaces.time_offsets = time_offsets(linux, &namespaces)?;
    if namespaces.makes(libc::CLONE_NEWTIME) && facts.kernel < TIME_ENTERED_BY_EXEC {
        namespaces.make_time_early(&facts.caller)?;
    }
    if namespaces.user_is_foreign() {
        // From inside another user namespace there may be no right to enter what others own.
        namespaces.join_before.append(&mut namespaces.join_inside);
    }
    // A privileged caller enters all others with its own rights first; any other has rights only in the user namespace.
    let user_last = facts.caller.may(caps::SYS_ADMIN);
    namespaces.join_before.sort_by_key(|join| (join.flag == libc::CLONE_NEWUSER) == user_last);
    Ok(namespaces)
}

fn add_join(namespaces: &mut Namespaces, join: Join) {
    match join.flag {
        libc::CLONE_NEWUSER | libc::CLONE_NEWPID => namespaces.join_before.push(join),
        _ => namespaces.join_inside.push(join),
    }
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, i64, u32)>, Error> {
    let new = namespaces.makes(libc::CLONE_NEWTIME);
    let mut offsets = Vec::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !new {
            return Err(text::invalid("linux.timeOffsets", "no new time namespace is asked for"));
        }
        if clock != "monotonic" && clock != "boottime" {
            return Err(text::invalid(format!("linux.timeOffsets.{clock}"), "must be monotonic or boottime"));
        }
        offsets.push((clock.clone(), offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)));
    }
    offsets.sort();
    Ok(offsets)
}
