//! What this host and this user can and cannot do, and how to mend it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cgroup::{file, systemd_socket};
use super::{account, calls};
use crate::plan::caps;
use crate::plan::cgroup::systemd::Bus;
use crate::plan::facts::{Caller, Cgroups, Facts, Kernel, UserNs};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub what: &'static str,
    pub state: State,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Good,
    /// Containers run, with something less.
    Limited,
    /// No container can run.
    Missing,
}

impl Finding {
    pub(super) fn good(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, state: State::Good, text: text.into(), mend: None }
    }

    pub(super) fn bad(
        what: &'static str,
        state: State,
        text: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { what, state, text: text.into(), mend: Some(mend.into()) }
    }
}

/// Everything, in the order in which a container needs it.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut all = vec![kernel(facts.kernel), calls::examine(&facts.caller), caller(&facts.caller)];
    if !facts.caller.may_on_host(caps::SYS_ADMIN) {
        all.push(user_namespaces());
        if facts.caller.user_ns == UserNs::Initial {
            all.push(id_ranges(facts.caller.uid));
        }
    }
    all.push(cgroups(&facts.cgroups));
    all.push(controllers(&facts.cgroups));
    all.push(systemd(&facts.caller));
    all.push(security(facts));
    all
}

/// With everything that is used, and with its fallbacks.
const BEST: Kernel = Kernel { major: 5, minor: 14 };
const LEAST: Kernel = Kernel { major: 5, minor: 4 };

fn kernel(kernel: Kernel) -> Finding {
    let text = format!("Linux {}.{}", kernel.major, kernel.minor);
    match kernel {
        kernel if kernel >= BEST => Finding::good("kernel", text),
        kernel if kernel >= LEAST => {
            let text = format!(
                "{text}: slower ways are taken, and idmapped mounts are missing; before 5.12 so are user namespaces with masks, and roots on shared mounts may fail"
            );
            Finding::bad("kernel", State::Limited, text, "Linux 5.14 or later has everything")
        }
        _ => Finding::bad("kernel", State::Missing, text, "Linux 5.4 or later is needed"),
    }
}

fn caller(caller: &Caller) -> Finding {
    let place = match caller.user_ns {
        UserNs::Initial => "on the host",
        UserNs::Nested => "in a user namespace",
    };
    let rights = match caller.may(caps::SYS_ADMIN) {
        true => "privileged",
        false => "unprivileged",
    };
    Finding::good("caller", format!("user {} {place}, {rights}", caller.uid))
}

/// Three switches can forbid them to ordinary users.
fn user_namespaces() -> Finding {
    let what = "user namespaces";
    let switch = |path: &str| file::read(Path::new("/proc/sys"), path).ok();
    if switch("user/max_user_namespaces").as_deref() == Some("0") {
        return Finding::bad(
            what,
            State::Missing,
            "none may be made",
            "sysctl user.max_user_namespaces=65536",
        );
    }
    if switch("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        let mend = "sysctl kernel.unprivileged_userns_clone=1";
        return Finding::bad(what, State::Missing, "ordinary users may make none", mend);
    }
    if switch("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        let mend = "an AppArmor profile for this program with `userns,`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0";
        return Finding::bad(what, State::Missing, "AppArmor takes the rights in them away", mend);
    }
    Finding::good(what, "ordinary users may make them")
}

fn id_ranges(uid: u32) -> Finding {
    let what = "id ranges";
    let single = "containers have a single id";
    for helper in ["newuidmap", "newgidmap"] {
        if find(helper).is_none() {
            let mend = "install the package uidmap (shadow-utils)";
            return Finding::bad(what, State::Limited, format!("no {helper}: {single}"), mend);
        }
    }
    let name = account::name(uid).unwrap_or_else(|| uid.to_string());
    for table in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        let own =
            |line: &&str| line.split(':').next().is_some_and(|user| user == name || user == uid.to_string());
        if !text.lines().any(|line| own(&line)) {
            let mend = format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}");
            return Finding::bad(
                what,
                State::Limited,
                format!("no line for {name} in {table}: {single}"),
                mend,
            );
        }
    }
    Finding::good(what, format!("{name} has ranges in /etc/subuid and /etc/subgid, and helpers to map them"))
}

/// Along PATH and the usual places: engines call without PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn cgroups(cgroups: &Cgroups) -> Finding {
    let text = match (cgroups.v1.is_empty(), &cgroups.v2) {
        (true, None) => {
            let mend = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";
            return Finding::bad("cgroups", State::Limited, "none are mounted", mend);
        }
        (true, Some(_)) => "v2",
        (false, None) => "v1",
        (false, Some(_)) => "v1 and v2 (hybrid)",
    };
    Finding::good("cgroups", text)
}

/// What a container that is made beside the caller could be limited by.
fn controllers(cgroups: &Cgroups) -> Finding {
    let what = "limits";
    let Some(v2) = cgroups.v2.as_ref().filter(|_| cgroups.v1.is_empty()) else {
        let names: Vec<&str> =
            cgroups.v1.iter().flat_map(|one| &one.controllers).map(String::as_str).collect();
        let dir = cgroups.v1.first().map(|one| one.mount.clone()).unwrap_or_default();
        return writable(what, &dir, &names.join(" "));
    };
    let parent = v2.own.parent().unwrap_or(Path::new("/"));
    let dir = v2.mount.join(parent.strip_prefix("/").unwrap_or(parent));
    let names = file::read(&dir, "cgroup.controllers").unwrap_or_default();
    writable(what, &dir, &names)
}

fn writable(what: &'static str, dir: &Path, names: &str) -> Finding {
    let may = nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok();
    match may {
        true => Finding::good(what, format!("{names} in {}", dir.display())),
        false => {
            let mend = "run below a delegated cgroup: `systemd-run --user --scope -p Delegate=yes`, or --systemd-cgroup";
            Finding::bad(what, State::Limited, format!("{} is not ours to write", dir.display()), mend)
        }
    }
}

fn systemd(caller: &Caller) -> Finding {
    let bus = if caller.may_on_host(caps::SYS_ADMIN) { Bus::System } else { Bus::User };
    match systemd_socket(bus) {
        Some(socket) => Finding::good("systemd", format!("answers at {}", socket.display())),
        None => {
            let mend = "log in through systemd-logind, or `loginctl enable-linger`; without it use --cgroup-manager cgroupfs";
            Finding::bad("systemd", State::Limited, "--systemd-cgroup cannot be used", mend)
        }
    }
}

fn security(facts: &Facts) -> Finding {
    let active: Vec<&str> = [("AppArmor", facts.security.apparmor), ("SELinux", facts.security.selinux)]
        .into_iter()
        .filter_map(|(name, is)| is.then_some(name))
        .collect();
    match active.is_empty() {
        true => Finding::good("security modules", "neither AppArmor nor SELinux"),
        false => Finding::good("security modules", active.join(", ")),
    }
}
