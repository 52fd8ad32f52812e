//! `exec`: a further process in a container that exists.

use oci_spec::runtime::{Process as SpecProcess, Spec};

use super::caps::{self, CapSet};
use super::facts::{Facts, Setgroups};
use super::ids;
use super::namespaces::{self, Namespaces};
use super::process::{self, Around, Process};
use super::{Need, Side, memory, missing, sched, seccomp};
use crate::error::Error;

/// A process that joins the namespaces of a container's init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    pub process: Process,
    pub seccomp: Option<seccomp::Program>,
    /// For `setns` before the clone: only children enter a pid namespace. With a user namespace by a go-between.
    pub before: i32,
    /// For `setns` by the child, all at once.
    pub inside: i32,
    /// Processors at first, and at the end (`execCPUAffinity`).
    pub cpus_first: Option<Vec<u32>>,
    pub cpus: Option<Vec<u32>>,
    pub root: Root,
    pub warnings: Vec<String>,
}

/// Where a further process finds the container's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Whoever enters the mount namespace is there.
    OfNamespace,
    /// The container has no mount namespace: the directory itself, by chroot(2).
    Directory,
}

/// `spec` is the configuration with which the container was created, `asked` the process to add.
pub fn plan(spec: &Spec, asked: &SpecProcess, facts: &Facts, preserve_fds: u32) -> Result<Joining, Error> {
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let of_container = namespaces::plan(linux, facts)?;
    let ids = ids::plan(linux, &of_container, facts)?;
    let mut warnings = Vec::new();
    let around = Around { preserve_fds, ..around(&of_container, ids.as_ref(), facts) };
    let mut process = process::plan(asked, &around, &mut warnings)?;
    process.personality = sched::personality(linux.personality().as_ref())?;
    process.memory_policy = memory::plan(linux.memory_policy().as_ref())?;
    let affinity = asked.exec_cpu_affinity().as_ref();
    let field = "process.execCPUAffinity";
    let (before, inside) = flags(spec, facts);
    Ok(Joining {
        process,
        seccomp: seccomp::plan(linux.seccomp().as_ref())?,
        before,
        inside,
        cpus_first: sched::cpus(affinity.and_then(|cpus| cpus.initial().as_deref()), field)?,
        cpus: sched::cpus(affinity.and_then(|cpus| cpus.cpu_affinity_final().as_deref()), field)?,
        root: match of_container.has(libc::CLONE_NEWNS) {
            true => Root::OfNamespace,
            false => Root::Directory,
        },
        warnings,
    })
}

/// The namespaces of the container: entered before a clone, and after it.
pub fn flags(spec: &Spec, facts: &Facts) -> (i32, i32) {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let flags = listed.iter().fold(0, |sum, entry| sum | namespaces::flag(entry.typ()));
    // A privileged caller enters everything with its own rights. Any other has rights only in the user namespace that it owns,
    // which it therefore enters first, together with the pid namespace.
    let before = match facts.caller.may(caps::SYS_ADMIN) {
        true => libc::CLONE_NEWPID,
        false => libc::CLONE_NEWPID | libc::CLONE_NEWUSER,
    };
    (flags & before, flags & !before)
}

/// What a process of a container with these namespaces may be given.
pub fn around(namespaces: &Namespaces, ids: Option<&ids::Ids>, facts: &Facts) -> Around {
    let caller = &facts.caller;
    let foreign = namespaces.user_is_foreign();
    // The first process of a user namespace starts with every capability there.
    let (bounding, permitted) = match foreign {
        true => (CapSet::ALL, CapSet::ALL),
        false => (caller.bounding, caller.bounding.and(caller.effective)),
    };
    let setgroups = match ids {
        Some(ids) => ids.setgroups,
        None if foreign => Setgroups::Unknown,
        None if caller.may(caps::SETGID) => caller.setgroups,
        None => Setgroups::Deny,
    };
    Around {
        bounding,
        permitted,
        setgroups,
        rlimits_by: match foreign && caller.may_on_host(caps::SYS_RESOURCE) {
            true => Side::Host,
            false => Side::Init,
        },
        oom: match caller.may_on_host(caps::SYS_RESOURCE) {
            true => Need::Required,
            false => Need::BestEffort,
        },
        security: facts.security,
        preserve_fds: 0,
    }
}
