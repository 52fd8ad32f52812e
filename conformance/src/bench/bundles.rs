//! What is started: bundles from the smallest to those that engines write.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::account;
use crate::bundle::{self, put, remove};

/// A kind of bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As `runc spec` writes it (for an ordinary user with --rootless).
    Plain,
    /// As an engine writes it: seccomp profile for three architectures, all masked and read-only paths, 20 mounts.
    Engine,
    /// With a user namespace: for an ordinary user with his subordinate ids, through newuidmap.
    UserNamespace,
    Mounts100,
    Environment4000,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Engine => "engine",
            Self::UserNamespace => "userns",
            Self::Mounts100 => "mounts100",
            Self::Environment4000 => "env4000",
        }
    }
}

/// The root file system that all share: a static busybox.
pub(super) fn root(dir: &Path, busybox: &Path) -> Result<PathBuf> {
    let root = dir.join("rootfs");
    for inner in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(root.join(inner))?;
    }
    std::fs::copy(busybox, root.join("bin/busybox")).context("copy busybox")?;
    for name in ["true", "echo", "sleep"] {
        symlink("busybox", root.join("bin").join(name))?;
    }
    Ok(root)
}

/// Writes the bundle; its program writes one word and ends.
pub(super) fn write(kind: Kind, dir: &Path, root: &Path, args: &[&str]) -> Result<PathBuf> {
    let is_root = nix::unistd::geteuid().is_root();
    let mut config = bundle::config(&[], is_root);
    put(&mut config, "/process/args", json!(args));
    put(&mut config, "/root", json!({"path": root, "readonly": true}));
    match kind {
        Kind::Plain => {}
        Kind::Engine => engine(&mut config, dir)?,
        Kind::UserNamespace => user_namespace(&mut config, is_root)?,
        Kind::Mounts100 => mounts(&mut config, dir, 94)?,
        Kind::Environment4000 => {
            let entry = |n: u32| format!("A_VARIABLE_OF_MANY_{n}=with a value of its own, number {n}");
            put(&mut config, "/process/env", json!((0..4000).map(entry).collect::<Vec<_>>()));
        }
    }
    let bundle = dir.join(format!("{}-{}", kind.name(), args.join("-").replace('/', "")));
    std::fs::create_dir(&bundle)?;
    std::fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
    Ok(bundle)
}

/// Read-only binds of one directory each: below a tmpfs, for their places to be made.
fn mounts(config: &mut Value, dir: &Path, count: usize) -> Result<()> {
    let source = dir.join("source");
    std::fs::create_dir_all(&source)?;
    bundle::push(config, "/mounts", json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    for number in 1..count {
        let destination = format!("/tmp/{number}");
        let options = ["bind", "ro", "nosuid", "nodev"];
        bundle::push(
            config,
            "/mounts",
            json!({"destination": destination, "type": "bind", "source": source, "options": options}),
        );
    }
    Ok(())
}

const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn engine(config: &mut Value, dir: &Path) -> Result<()> {
    mounts(config, dir, 14)?;
    for set in ["bounding", "effective", "permitted"] {
        put(config, &format!("/process/capabilities/{set}"), json!(CAPABILITIES));
    }
    put(
        config,
        "/linux/maskedPaths",
        json!([
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware"
        ]),
    );
    put(config, "/linux/seccomp", profile());
    Ok(())
}

/// An engine's default profile: a long list of names that are allowed, and rules with conditions for a few more.
fn profile() -> Value {
    let names: Vec<&str> = include_str!("allowed.txt").split_whitespace().collect();
    let with = |name: &str, index: u32, value: u64, op: &str| json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [{"index": index, "value": value, "op": op}]});
    let mut rules = vec![json!({"names": names, "action": "SCMP_ACT_ALLOW"})];
    rules.push(with("socket", 0, 40, "SCMP_CMP_NE"));
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        rules.push(with("personality", 0, persona, "SCMP_CMP_EQ"));
    }
    rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 0x7e02_0000_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}));
    rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    let architectures = match std::env::consts::ARCH {
        "x86_64" => ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"].as_slice(),
        "aarch64" => ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"].as_slice(),
        _ => &[],
    };
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": architectures, "syscalls": rules})
}

fn user_namespace(config: &mut Value, is_root: bool) -> Result<()> {
    if is_root {
        bundle::push(config, "/linux/namespaces", json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        put(config, "/linux/uidMappings", map.clone());
        put(config, "/linux/gidMappings", map);
        return Ok(());
    }
    for (file, own, list) in [
        ("/etc/subuid", nix::unistd::geteuid().as_raw(), "/linux/uidMappings"),
        ("/etc/subgid", nix::unistd::getegid().as_raw(), "/linux/gidMappings"),
    ] {
        let (first, count) = range(file)?;
        let map = json!([{"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": first, "size": count}]);
        put(config, list, map);
    }
    remove(config, "/linux/resources");
    Ok(())
}

/// The caller's first range in the file.
fn range(file: &str) -> Result<(u32, u32)> {
    let user = account::own()?.name;
    let text = std::fs::read_to_string(file)?;
    let own = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let numbers = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (name == user).then_some(numbers)
    };
    text.lines().find_map(own).with_context(|| format!("{file} has no range for {user}"))
}
