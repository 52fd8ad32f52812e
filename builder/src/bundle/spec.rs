//! `config.json`: the container in the runtime specification's words.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Capability, Hooks, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxDevice, LinuxDeviceBuilder,
    LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResourcesBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

use super::account::Account;
use super::capability;
use super::cdi::{Devices, Node};
use super::limits::Limits;
use super::mounts::{self, Surroundings};
use super::seccomp;
use crate::error::{Error, Kind};
use crate::sys::userns::{self, Owners};

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Everything that decides what runs and how.
#[derive(Debug, Clone)]
pub struct Container {
    /// Argument vector.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Where it starts.
    pub cwd: String,
    /// Who it is.
    pub account: Account,
    /// Whether its standard streams are a terminal of its own.
    pub terminal: bool,
    /// The name of its host.
    pub hostname: String,
    /// Its root file system.
    pub root: PathBuf,
    /// Mounts besides the usual ones, in order.
    pub mounts: Vec<Extra>,
    /// Its network.
    pub network: NetworkNamespace,
    /// How far it is confined.
    pub isolation: Isolation,
    /// Its control group, `None` to leave it to the runtime.
    pub cgroup: Option<String>,
    /// What it may use at most.
    pub limits: Limits,
    /// What it gets with its devices, besides mounts, groups and variables.
    pub devices: Devices,
}

/// The network namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// The builder's own.
    Host,
    /// This one.
    At(PathBuf),
}

/// How far a container is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The usual capabilities, masks and filter.
    Sandbox,
    /// All that the builder itself may do.
    Insecure,
}

/// A mount besides the usual ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extra {
    /// A file or directory.
    Bind {
        /// On the builder's side.
        source: PathBuf,
        /// In the container.
        target: String,
        /// May it be written?
        writable: bool,
    },
    /// As a device's description has it.
    Described {
        /// On the builder's side.
        source: PathBuf,
        /// In the container.
        target: String,
        /// Type of file system, `bind`.
        kind: String,
        /// Its options.
        options: Vec<String>,
    },
    /// A file system in memory.
    Tmpfs {
        /// In the container.
        target: String,
        /// Limit in bytes.
        size: Option<u64>,
    },
}

impl Extra {
    /// Where in the container.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Described { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// Writes `config.json` into the bundle's directory.
///
/// # Errors
/// A container that the specification cannot say; the file system's.
pub fn write(bundle: &Path, container: &Container) -> Result<(), Error> {
    let around = Surroundings {
        initial: userns::is_initial(),
        many_ids: userns::owners() == Owners::Kept,
        host_network: container.network == NetworkNamespace::Host,
    };
    let spec = describe(container, around)?;
    let path = bundle.join("config.json");
    let text = serde_json::to_vec(&spec)
        .map_err(|error| Error::new(Kind::Invalid, format!("describe the container: {error}")))?;
    std::fs::write(&path, text).map_err(|error| Error::system(format!("write {}", path.display()), error))
}

fn describe(container: &Container, around: Surroundings) -> Result<Spec, Error> {
    let mut mounts = mounts::usual(around, container.limits.shm)?;
    for extra in &container.mounts {
        mounts.push(mounts::extra(extra)?);
    }
    let sandbox = container.isolation == Isolation::Sandbox;
    let paths = |list: &[&str]| list.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(&container.network)?)
        .masked_paths(if sandbox { paths(&MASKED) } else { Vec::new() })
        .readonly_paths(if sandbox { paths(&READ_ONLY) } else { Vec::new() });
    if sandbox {
        linux = linux.seccomp(seccomp::profile()?);
    }
    if let Some(cgroup) = &container.cgroup {
        linux = linux.cgroups_path(cgroup);
    }
    let (mut resources, mut is_limited) = container.limits.of_group(LinuxResourcesBuilder::default())?;
    // CAP_MKNOD makes any device; without this rule some runtimes let it be opened. Theirs for the usual ones follow.
    let mut rules = if around.initial && sandbox { vec![no_devices()?] } else { Vec::new() };
    for node in &container.devices.nodes {
        rules.push(rule(node)?);
    }
    if !rules.is_empty() {
        resources = resources.devices(rules);
        is_limited = true;
    }
    if !container.devices.nodes.is_empty() {
        let nodes = container.devices.nodes.iter().map(|node| device(node, &container.account));
        linux = linux.devices(nodes.collect::<Result<Vec<_>, _>>()?);
    }
    if is_limited {
        linux = linux.resources(built("limits", resources.build())?);
    }
    let root = built("root", RootBuilder::default().path(&container.root).readonly(false).build())?;
    let spec = SpecBuilder::default()
        .version("1.0.2")
        .root(root)
        .hostname(&container.hostname)
        .process(process(container)?)
        .mounts(mounts)
        .linux(built("linux", linux.build())?);
    let spec = match container.devices.hooks.is_empty() {
        true => spec,
        false => {
            let hooks = serde_json::Value::Object(container.devices.hooks.clone());
            spec.hooks(built("hooks", serde_json::from_value::<Hooks>(hooks))?)
        }
    };
    built("container", spec.build())
}

fn process(container: &Container) -> Result<Process, Error> {
    let capabilities: std::collections::HashSet<Capability> = match container.isolation {
        Isolation::Sandbox => capability::usual(),
        Isolation::Insecure => capability::all(),
    };
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new())
        .build();
    let user = UserBuilder::default()
        .uid(container.account.uid)
        .gid(container.account.gid)
        .additional_gids(container.account.groups.clone())
        .umask(0o022_u32)
        .build();
    let mut process = ProcessBuilder::default()
        .terminal(container.terminal)
        .user(built("user", user)?)
        .args(container.args.clone())
        .env(container.env.clone())
        .cwd(&container.cwd)
        .no_new_privileges(false)
        .capabilities(built("capabilities", capabilities)?);
    let rlimits = container.limits.rlimits()?;
    if !rlimits.is_empty() {
        process = process.rlimits(rlimits);
    }
    built("process", process.build())
}

fn no_devices() -> Result<LinuxDeviceCgroup, Error> {
    built("device rule", LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build())
}

/// What the control group lets a device's node be used for.
fn rule(node: &Node) -> Result<LinuxDeviceCgroup, Error> {
    let (major, minor) = node.numbers;
    let rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(kind_of(node)?).major(major).minor(minor);
    built("device rule", rule.access(&node.access).build())
}

fn device(node: &Node, account: &Account) -> Result<LinuxDevice, Error> {
    let (major, minor) = node.numbers;
    let mut device =
        LinuxDeviceBuilder::default().path(&node.path).typ(kind_of(node)?).major(major).minor(minor);
    if let Some(mode) = node.mode {
        device = device.file_mode(mode);
    }
    device = device.uid(node.owner.0.unwrap_or(account.uid)).gid(node.owner.1.unwrap_or(account.gid));
    built("device", device.build())
}

fn kind_of(node: &Node) -> Result<LinuxDeviceType, Error> {
    match node.kind.as_str() {
        "c" | "u" => Ok(LinuxDeviceType::C),
        "b" => Ok(LinuxDeviceType::B),
        "p" => Ok(LinuxDeviceType::P),
        other => {
            Err(Error::new(Kind::Invalid, format!("device {}: its type {other} is not known", node.path)))
        }
    }
}

fn namespaces(network: &NetworkNamespace) -> Result<Vec<LinuxNamespace>, Error> {
    let mut list = Vec::new();
    for kind in [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ] {
        list.push(built("namespace", LinuxNamespaceBuilder::default().typ(kind).build())?);
    }
    if let NetworkNamespace::At(path) = network {
        let at = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network).path(path).build();
        list.push(built("namespace", at)?);
    }
    Ok(list)
}

pub(super) fn built<T, E: std::fmt::Display>(what: &str, value: Result<T, E>) -> Result<T, Error> {
    value.map_err(|error| Error::new(Kind::Invalid, format!("describe the {what} of the container: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        Container {
            args: vec!["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()],
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/src".to_owned(),
            account: Account { uid: 5, gid: 6, groups: vec![7], home: "/".to_owned() },
            terminal: false,
            hostname: "box".to_owned(),
            root: PathBuf::from("/store/tmp/1-1/rootfs"),
            mounts: vec![
                Extra::Bind { source: "/tmp/hosts".into(), target: "/etc/hosts".to_owned(), writable: false },
                Extra::Tmpfs { target: "/scratch".to_owned(), size: Some(4096) },
            ],
            network: NetworkNamespace::At("/store/tmp/1-1/netns".into()),
            isolation: Isolation::Sandbox,
            cgroup: Some("/coracle-run-1-2-x".to_owned()),
            limits: Limits::default(),
            devices: Devices::default(),
        }
    }

    /// The text of a container's config, in an order that does not change.
    fn text(container: &Container, around: Surroundings) -> String {
        let mut value = serde_json::to_value(describe(container, around).unwrap()).unwrap();
        for set in ["bounding", "effective", "permitted"] {
            let names = value["process"]["capabilities"][set].as_array_mut().unwrap();
            names.sort_by_key(ToString::to_string);
        }
        // The filter's list is its own text, in seccomp.rs.
        if let Some(filter) = value["linux"].get_mut("seccomp") {
            *filter = filter["defaultAction"].clone();
        }
        format!("{value:#}\n")
    }

    fn check(name: &str, found: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bundle/golden").join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "{name}; UPDATE=1 rewrites it");
    }

    #[test]
    fn a_step_of_root_and_a_shared_network_of_a_single_id_are_as_in_the_goldens() {
        let root = Surroundings { initial: true, many_ids: true, host_network: false };
        check("step-of-root.json", &text(&container(), root));
        let single = Surroundings { initial: false, many_ids: false, host_network: true };
        let shared =
            Container { network: NetworkNamespace::Host, cgroup: None, terminal: true, ..container() };
        check("host-network-single-id.json", &text(&shared, single));
    }

    #[test]
    fn limits_stand_where_the_specification_has_them() {
        let limits = Limits {
            memory: Some(1 << 20),
            cpus: Some(1500),
            processes: vec!["nofile=10:20".parse().unwrap()],
            shm: Some(4096),
        };
        let around = Surroundings { initial: false, many_ids: true, host_network: false };
        let spec =
            serde_json::to_value(describe(&Container { limits, ..container() }, around).unwrap()).unwrap();
        let resources = &spec["linux"]["resources"];
        assert_eq!(resources["memory"], serde_json::json!({"limit": 1 << 20, "swap": 1 << 20}));
        assert_eq!(resources["cpu"], serde_json::json!({"quota": 150_000, "period": 100_000}));
        let rlimits = serde_json::json!([{"type": "RLIMIT_NOFILE", "hard": 20, "soft": 10}]);
        assert_eq!(spec["process"]["rlimits"], rlimits);
        let mounts = spec["mounts"].as_array().unwrap();
        let shm = mounts.iter().find(|mount| mount["destination"] == "/dev/shm").unwrap();
        assert_eq!(shm["options"][4], "size=4096");
    }
}
