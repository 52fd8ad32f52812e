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
    process.personality = sched::personality(linux.personality().as_ref(), &mut warnings);
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

/// What the file of a process does not say is as for the container's process. Capabilities count as said even when they are none, and
/// `noNewPrivileges` is always the file's, as with runc. runc has the AppArmor profile and the limits in this rule too, but keeps
/// neither in its state: there the process goes unconfined, and with the caller's limits. That is not to be relied on.
pub fn complete(asked: &mut SpecProcess, of_container: &SpecProcess) {
    let is_empty = |label: &Option<String>| label.as_ref().is_none_or(String::is_empty);
    if asked.capabilities().is_none() {
        asked.set_capabilities(of_container.capabilities().clone());
    }
    if is_empty(asked.apparmor_profile()) {
        asked.set_apparmor_profile(of_container.apparmor_profile().clone());
    }
    if is_empty(asked.selinux_label()) {
        asked.set_selinux_label(of_container.selinux_label().clone());
    }
    if asked.rlimits().as_ref().is_none_or(Vec::is_empty) {
        asked.set_rlimits(of_container.rlimits().clone());
    }
    if asked.io_priority().is_none() {
        asked.set_io_priority(*of_container.io_priority());
    }
    if asked.scheduler().is_none() {
        asked.set_scheduler(of_container.scheduler().clone());
    }
    if asked.exec_cpu_affinity().is_none() {
        asked.set_exec_cpu_affinity(of_container.exec_cpu_affinity().clone());
    }
    // runc takes these two from the container alone.
    if asked.oom_score_adj().is_none() {
        asked.set_oom_score_adj(of_container.oom_score_adj());
    }
    if asked.user().umask().is_none() {
        let mut user = asked.user().clone();
        user.set_umask(of_container.user().umask());
        asked.set_user(user);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn process(text: &Value) -> SpecProcess {
        serde_json::from_value(text.clone()).unwrap()
    }

    fn of_container() -> Value {
        json!({
            "args": ["init"], "cwd": "/srv", "env": ["A=b"], "noNewPrivileges": true,
            "user": {"uid": 7, "gid": 8, "umask": 0o27, "additionalGids": [9]},
            "capabilities": {"bounding": ["CAP_KILL"]}, "apparmorProfile": "confined", "selinuxLabel": "a:b:c:s0",
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 7, "hard": 8}], "oomScoreAdj": 300,
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}, "scheduler": {"policy": "SCHED_BATCH"},
            "execCPUAffinity": {"initial": "0", "final": "0"},
        })
    }

    #[test]
    fn what_a_process_file_leaves_out_is_as_for_the_container() {
        let mut expected = of_container();
        expected["args"] = json!(["sh"]);
        expected["cwd"] = json!("/");
        expected["user"] = json!({"uid": 0, "gid": 0, "umask": 0o27});
        for absent in ["env", "noNewPrivileges"] {
            expected.as_object_mut().unwrap().remove(absent);
        }
        for more in [json!({}), json!({"rlimits": [], "apparmorProfile": "", "selinuxLabel": ""})] {
            let mut asked = json!({"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
            asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let mut asked = process(&asked);
            complete(&mut asked, &process(&of_container()));
            assert_eq!(asked, process(&expected));
        }
    }

    #[test]
    fn what_a_process_file_says_stays() {
        let said = json!({
            "args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0, "umask": 0o77}, "capabilities": {},
            "apparmorProfile": "other", "selinuxLabel": "d:e:f:s0", "oomScoreAdj": 0,
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}], "scheduler": {"policy": "SCHED_OTHER"},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}, "execCPUAffinity": {},
        });
        let mut asked = process(&said);
        complete(&mut asked, &process(&of_container()));
        assert_eq!(asked, process(&said));
    }
}
