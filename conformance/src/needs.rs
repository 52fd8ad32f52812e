//! What a case needs of the host, and what this host has: measured once, so that a case that cannot run says why.
//!
//! Invariant: a need is decided from facts about the host alone, never from how the subject behaved.

use std::path::Path;

use crate::{account, process};

/// Something that not every host or user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The cases runs as uid 0 of the initial user namespace.
    Root,
    /// The case runs as an ordinary user.
    OrdinaryUser,
    /// Unprivileged user namespaces can be made.
    UserNamespaces,
    /// newuidmap and a range in /etc/subuid.
    SubordinateIds,
    /// Root, or a user who can map a range of ids: what engines need to unpack an image.
    UserIds,
    /// A v1 hierarchy with the named controller that this user may write to.
    V1(&'static str),
    /// The named v2 controller is available below the root of the tree (and the user is root).
    V2(&'static str),
    /// The named controller on whichever hierarchy this host has it: engines set a weight without being asked.
    Controller(&'static str),
    /// systemd manages this host's one tree of cgroup v2 (and the user is root).
    Systemd,
    /// A cgroup with the named controller (v2 has `freezer` and `devices` without one) that an engine of this user can make: root's, or the user's systemd's.
    Managed(&'static str),
    /// For root: every enabled v1 controller is mounted, or there are none: podman makes a directory for each, and cannot remove a pod whose
    /// directories are no cgroups.
    EveryV1Mounted,
    /// A program on the host: a name on PATH or a whole path.
    Program(&'static str),
    /// /dev/net/tun can be opened, which network helpers need.
    Tun,
    /// AppArmor confines processes here, and apparmor_parser loads profiles.
    AppArmor,
    /// criu, and a kernel and rights with which it works.
    Criu,
}

/// What this host and this user have.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) root: bool,
    pub(crate) pure_v2: bool,
    /// systemd is the host's first process.
    pub(crate) systemd: bool,
    user_namespaces: Result<(), String>,
    subordinate_ids: Result<(), String>,
    tun: Result<(), String>,
}

impl Host {
    /// Looks at the host. Costs one short-lived process.
    pub(crate) fn measure() -> Self {
        let root = nix::unistd::geteuid().is_root();
        Self {
            root,
            pure_v2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            systemd: Path::new("/run/systemd/system").is_dir(),
            user_namespaces: user_namespaces(),
            subordinate_ids: subordinate_ids(),
            tun: std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/net/tun")
                .map(drop)
                .map_err(|e| format!("/dev/net/tun cannot be opened: {e}")),
        }
    }

    /// The reason why `need` is not met; `None` when it is.
    pub(crate) fn lacks(&self, need: Need) -> Option<String> {
        match need {
            Need::Root => (!self.root).then(|| "needs root".to_owned()),
            Need::OrdinaryUser => self.root.then(|| "is for an ordinary user; root runs it".to_owned()),
            Need::UserNamespaces => self.user_namespaces.clone().err(),
            Need::SubordinateIds => self.subordinate_ids.clone().err(),
            Need::UserIds if self.root => None,
            Need::UserIds => self.lacks(Need::UserNamespaces).or_else(|| self.lacks(Need::SubordinateIds)),
            Need::V1(controller) => {
                let dir = Path::new("/sys/fs/cgroup").join(controller);
                let missing = self.pure_v2 || !self.root || !dir.join("cgroup.procs").exists();
                missing.then(|| format!("needs root and the cgroup v1 controller {controller}"))
            }
            Need::V2(controller) => {
                let list = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
                let has = self.pure_v2 && self.root && list.split_whitespace().any(|c| c == controller);
                (!has).then(|| format!("needs root and the cgroup v2 controller {controller}"))
            }
            Need::Controller(name) => {
                let lacks = self.lacks(Need::V1(name)).and(self.lacks(Need::V2(name)));
                lacks.map(|_| format!("needs root and the cgroup controller {name}"))
            }
            Need::Systemd => {
                let has = self.root && self.pure_v2 && self.systemd;
                (!has).then(|| "needs root, cgroup v2 and a running systemd".to_owned())
            }
            Need::Managed(name) => self.lacks_managed(name),
            Need::EveryV1Mounted => (self.root && !self.pure_v2).then(unmounted).flatten(),
            Need::Program(name) => process::find(name).is_none().then(|| format!("{name} is not installed")),
            Need::Tun => self.tun.clone().err(),
            Need::AppArmor => {
                let on = std::fs::read("/sys/module/apparmor/parameters/enabled");
                let has = on.is_ok_and(|word| word.starts_with(b"Y"));
                let lacks = (!has).then(|| "AppArmor is off".to_owned());
                lacks.or_else(|| self.lacks(Need::Program("apparmor_parser")))
            }
            Need::Criu => criu().err(),
        }
    }

    /// `count`, or a twentieth of it where the processor is emulated: what takes seconds elsewhere takes minutes there.
    pub(crate) fn scaled(&self, count: u32) -> u32 {
        if self.emulated() { count.div_ceil(20) } else { count }
    }

    /// The processor is another program.
    pub(crate) fn emulated(&self) -> bool {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        cpu.contains("QEMU TCG")
    }

    fn lacks_managed(&self, name: &'static str) -> Option<String> {
        if self.root {
            let core_of_v2 = self.pure_v2 && ["freezer", "devices"].contains(&name);
            return self.lacks(Need::Controller(name)).filter(|_| !core_of_v2);
        }
        let uid = nix::unistd::geteuid();
        let own = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
        let passed_on = std::fs::read_to_string(own).ok();
        let has = passed_on.is_some_and(|l| name == "freezer" || l.split_whitespace().any(|c| c == name));
        (!has).then(|| format!("this user has no cgroup of his systemd's with {name}"))
    }

    /// One line about the host, for the head of a report.
    pub(crate) fn describe(&self) -> String {
        let kernel = nix::sys::utsname::uname()
            .map(|u| u.release().to_string_lossy().into_owned())
            .unwrap_or_default();
        let who = if self.root { "root".to_owned() } else { format!("uid {}", nix::unistd::geteuid()) };
        let cgroups = match (self.pure_v2, Path::new("/sys/fs/cgroup/unified").exists()) {
            (true, _) => "cgroup v2",
            (false, true) => "cgroup v1 and v2 (hybrid)",
            (false, false) => "cgroup v1",
        };
        format!("Linux {kernel} {}, {who}, {cgroups}", std::env::consts::ARCH)
    }
}

/// Names the enabled v1 controllers that are mounted nowhere.
fn unmounted() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted: Vec<&str> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|words| words.get(2) == Some(&"cgroup"))
        .flat_map(|words| words.get(3).copied().unwrap_or_default().split(',').collect::<Vec<_>>())
        .collect();
    let all = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let missing: Vec<&str> = all
        .lines()
        .filter(|line| !line.starts_with('#') && line.ends_with("\t1"))
        .filter_map(|line| line.split('\t').next())
        .filter(|name| !mounted.contains(name))
        .collect();
    (!missing.is_empty()).then(|| format!("cgroup v1 controllers are mounted nowhere: {}", missing.join(" ")))
}

fn user_namespaces() -> Result<(), String> {
    let unshare = process::find("unshare").ok_or("unshare (util-linux) is not installed")?;
    let mut command = std::process::Command::new(unshare);
    command.args(["-U", "-r", "/bin/true"]);
    match process::run(&mut command, std::time::Duration::from_secs(10)) {
        Ok(ended) if ended.code == 0 => Ok(()),
        Ok(ended) => Err(format!("user namespaces are off: {}", ended.err.trim())),
        Err(error) => Err(format!("user namespaces: {error}")),
    }
}

/// Asked where it is needed only: it tries many calls.
fn criu() -> Result<(), String> {
    let criu = process::find("criu").ok_or("criu is not installed")?;
    let mut command = std::process::Command::new(criu);
    match process::run(command.arg("check"), std::time::Duration::from_secs(60)) {
        Ok(ended) if ended.code == 0 => Ok(()),
        Ok(ended) => {
            Err(format!("criu does not work here: {}", ended.err.lines().next().unwrap_or_default()))
        }
        Err(error) => Err(format!("criu: {error}")),
    }
}

fn subordinate_ids() -> Result<(), String> {
    process::find("newuidmap").ok_or("newuidmap (Debian: uidmap) is not installed")?;
    let uid = nix::unistd::geteuid();
    let user = account::own().map(|own| own.name).unwrap_or_default();
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let listed = text
            .lines()
            .filter_map(|l| l.split(':').next())
            .any(|name| name == user || name == uid.to_string());
        if !listed {
            return Err(format!("{file} has no range for {user}"));
        }
    }
    Ok(())
}
