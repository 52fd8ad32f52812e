//! `spec`: a configuration to start from.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use super::Global;
use crate::bundle::SPEC_VERSION;
use crate::error::{Error, Kind};
use crate::host::facts;

/// create a new specification file
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// path to the root of the bundle directory
    #[arg(short, long, value_name = "string")]
    bundle: Option<PathBuf>,
    /// generate a configuration for a rootless container
    #[arg(long)]
    rootless: bool,
}

/// Writes `config.json`; one that is there stays.
pub(super) fn spec(args: &Args, _: &Global) -> Result<ExitCode, Error> {
    let mut config = example();
    if facts::is_pure_v2() {
        add_namespace(&mut config, "cgroup");
    }
    if args.rootless {
        make_rootless(&mut config);
    }
    let path = args.bundle.clone().unwrap_or_default().join("config.json");
    let text = tabbed(&config)?;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = opened.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Kind::Invalid, "File config.json exists. Remove it first")
        }
        _ => Error::system(format!("create {}", path.display()), source),
    })?;
    let written = file.write_all(text.as_bytes());
    written.map_err(|source| Error::system(format!("write {}", path.display()), source))?;
    Ok(ExitCode::SUCCESS)
}

fn tabbed(config: &Value) -> Result<String, Error> {
    use serde::Serialize;
    let mut bytes = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let encoded = config.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, tabs));
    encoded.map_err(|source| Error::system("encode config.json", std::io::Error::from(source)))?;
    String::from_utf8(bytes)
        .map_err(|source| Error::system("encode config.json", std::io::Error::other(source)))
}

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// The example that runc writes.
fn example() -> Value {
    json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": CAPABILITIES,
                "permitted": CAPABILITIES,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "runc",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| match options {
        [] => json!({ "destination": destination, "type": kind, "source": source }),
        options => json!({ "destination": destination, "type": kind, "source": source, "options": options }),
    };
    let hardened = ["nosuid", "noexec", "nodev"];
    let with_ro: Vec<&str> = hardened.iter().copied().chain(["ro"]).collect();
    let cgroup: Vec<&str> = hardened.iter().copied().chain(["relatime", "ro"]).collect();
    let devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    Value::Array(vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &devpts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &hardened),
        mount("/sys", "sysfs", "sysfs", &with_ro),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &cgroup),
    ])
}

/// What an ordinary user cannot have goes, and a user namespace with the caller as root comes.
fn make_rootless(config: &mut Value) {
    if let Some(mounts) = config.get_mut("mounts").and_then(Value::as_array_mut) {
        for mount in mounts {
            rootless_mount(mount);
        }
    }
    add_namespace(config, "user");
    let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) else { return };
    if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
        namespaces.retain(|namespace| namespace.get("type") != Some(&json!("network")));
    }
    let map = |own: u32| json!([{ "containerID": 0, "hostID": own, "size": 1 }]);
    let mut mapped = serde_json::Map::new();
    mapped.insert("uidMappings".to_owned(), map(nix::unistd::geteuid().as_raw()));
    mapped.insert("gidMappings".to_owned(), map(nix::unistd::getegid().as_raw()));
    linux.shift_remove("resources");
    mapped.append(linux);
    *linux = mapped;
}

fn add_namespace(config: &mut Value, kind: &str) {
    if let Some(namespaces) = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
        namespaces.push(json!({ "type": kind }));
    }
}

/// Only the owner of a network namespace may mount its sysfs, and group 5 is not mapped.
fn rootless_mount(mount: &mut Value) {
    if mount.get("destination") == Some(&json!("/sys")) {
        *mount = json!({
            "destination": "/sys",
            "type": "none",
            "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        });
    }
    if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
        let is_id = |option: &Value| {
            option.as_str().is_some_and(|text| text.starts_with("gid=") || text.starts_with("uid="))
        };
        options.retain(|option| !is_id(option));
    }
}
