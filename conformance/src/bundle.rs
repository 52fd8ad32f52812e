//! Bundles for cases: the probe as the whole root file system, and a configuration like `runc spec`'s that a case edits.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A bundle on disk.
#[derive(Debug)]
pub(crate) struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    /// Makes `dir` with the probe at `/probe` and `/bin/probe`, and the directories that mounts need; no configuration yet.
    pub(crate) fn make(dir: PathBuf, probe: &Path) -> Result<Self> {
        let root = dir.join("rootfs");
        for inner in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            std::fs::create_dir_all(root.join(inner))?;
        }
        std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
        std::fs::copy(probe, root.join("bin/probe")).with_context(|| format!("copy {}", probe.display()))?;
        std::fs::hard_link(root.join("bin/probe"), root.join("probe"))?;
        Ok(Self { dir })
    }

    /// Its path as text, for a command line.
    pub(crate) fn path(&self) -> Result<&str> {
        self.dir.to_str().context("a bundle's path is text")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// The configuration as it stands.
    pub(crate) fn config(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.dir.join("config.json"))?)?)
    }

    /// Replaces the configuration.
    pub(crate) fn write(&self, config: &Value) -> Result<()> {
        Ok(std::fs::write(self.dir.join("config.json"), serde_json::to_vec_pretty(config)?)?)
    }

    /// Changes the configuration in place.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut config = self.config()?;
        change(&mut config);
        self.write(&config)
    }

    /// Sets the value at a JSON pointer, whose parent is there.
    pub(crate) fn set(&self, pointer: &str, value: Value) -> Result<()> {
        self.edit(|config| put(config, pointer, value))
    }

    /// Appends a mount.
    pub(crate) fn mount(&self, mount: Value) -> Result<()> {
        self.edit(|config| push(config, "/mounts", mount))
    }
}

/// Sets `pointer`, making the objects on the way.
pub(crate) fn put(config: &mut Value, pointer: &str, value: Value) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    if config.pointer(parent).is_none() {
        put(config, parent, json!({}));
    }
    match config.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.insert(key.to_owned(), value)),
        Some(Value::Array(list)) => {
            if let Some(place) = key.parse().ok().and_then(|at: usize| list.get_mut(at)) {
                *place = value;
            }
        }
        _ => {}
    }
}

/// Removes `pointer`.
pub(crate) fn remove(config: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(map)) = config.pointer_mut(parent) {
        map.remove(key);
    }
}

/// Appends to the list at `pointer`.
pub(crate) fn push(config: &mut Value, pointer: &str, value: Value) {
    if config.pointer(pointer).is_none() {
        put(config, pointer, json!([]));
    }
    if let Some(Value::Array(list)) = config.pointer_mut(pointer) {
        list.push(value);
    }
}

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// `runc spec`'s configuration without a terminal, with the probe as its program; for an ordinary user as `spec --rootless`.
pub(crate) fn config(words: &[&str], root: bool) -> Value {
    let args: Vec<&str> = std::iter::once("/probe").chain(words.iter().copied()).collect();
    let mut namespaces = vec![
        json!({"type": "pid"}),
        json!({"type": "network"}),
        json!({"type": "ipc"}),
        json!({"type": "uts"}),
        json!({"type": "mount"}),
    ];
    let mut linux = json!({
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if root {
        put(&mut linux, "/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
    } else {
        namespaces.push(json!({"type": "user"}));
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        put(&mut linux, "/uidMappings", map(nix::unistd::geteuid().as_raw()));
        put(&mut linux, "/gidMappings", map(nix::unistd::getegid().as_raw()));
    }
    put(&mut linux, "/namespaces", Value::Array(namespaces));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
            "env": ["PATH=/bin"],
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "probe",
        "mounts": mounts(root),
        "linux": linux,
    })
}

fn mounts(root: bool) -> Value {
    let sys = match root {
        true => {
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]})
        }
        // A network namespace of one's own is made in the container's user namespace: sysfs may be mounted there too.
        false => {
            json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
        }
    };
    let pts = match root {
        true => json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        false => json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    };
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        sys,
    ])
}
