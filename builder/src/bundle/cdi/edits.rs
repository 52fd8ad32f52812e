//! What a container gets with its devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

use super::document::{DeviceNode, Edits, Hook, Mount};
use super::registry::Registry;
use crate::bundle::spec::Extra;
use crate::bundle::stubs::Kind as StubKind;
use crate::error::{Error, Kind};
use crate::sys::userns;

/// The stages of a container's life that have hooks.
const STAGES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Everything that devices bring along.
#[derive(Debug, Clone, Default)]
pub struct Devices {
    /// `NAME=value`, before any other of that name.
    pub env: Vec<String>,
    /// Groups that the process is in.
    pub groups: Vec<u32>,
    /// Files and directories of the host.
    pub mounts: Vec<(Extra, StubKind)>,
    /// Nodes that the runtime makes.
    pub nodes: Vec<Node>,
    /// Hooks in the runtime specification's words, by stage.
    pub hooks: serde_json::Map<String, serde_json::Value>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// In the container.
    pub path: String,
    /// `c`, `b`, `u` or `p`.
    pub kind: String,
    /// Its numbers.
    pub numbers: (i64, i64),
    /// Its mode.
    pub mode: Option<u32>,
    /// Its owner and group; as the process's where the description has none.
    pub owner: (Option<u32>, Option<u32>),
    /// What the process may do with it: some of `rwm`.
    pub access: String,
}

impl Registry {
    /// What the devices of a name bring into a container, nothing where there is none; `warn` is told what is not as described.
    ///
    /// # Errors
    /// A name that is none, a device that is not allowed, what this user or this builder cannot give.
    pub fn grant(&self, name: &str, into: &mut Devices, warn: &dyn Fn(&str)) -> Result<bool, Error> {
        let found = self.find(name, warn)?;
        let mut files: Vec<&PathBuf> = Vec::new();
        for device in &found {
            self.check(device)?;
            let doing = format!("device {}", device.name);
            if !files.contains(&&device.file) {
                files.push(&device.file);
                into.add(&device.common, warn).map_err(|error| error.during(&doing))?;
            }
            into.add(&device.edits, warn).map_err(|error| error.during(&doing))?;
        }
        Ok(!found.is_empty())
    }
}

impl Devices {
    fn add(&mut self, edits: &Edits, warn: &dyn Fn(&str)) -> Result<(), Error> {
        for (name, value) in [("intelRdt", &edits.intel_rdt), ("netDevices", &edits.net_devices)] {
            if value.is_some() {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("{name} is not supported for a build's step"),
                ));
            }
        }
        self.env.extend(edits.env.iter().cloned());
        self.groups.extend(edits.groups.iter().copied());
        for node in &edits.device_nodes {
            self.node(node, warn)?;
        }
        for mount in &edits.mounts {
            self.mount(mount)?;
        }
        edits.hooks.iter().try_for_each(|hook| self.hook(hook))
    }

    /// Only the machine's own root makes nodes. Anybody else's container sees the host's own, if that user may use it.
    fn node(&mut self, node: &DeviceNode, warn: &dyn Fn(&str)) -> Result<(), Error> {
        let host = node.host_path.clone().unwrap_or_else(|| PathBuf::from(&node.path));
        let access = node.permissions.clone().unwrap_or_else(|| "rwm".to_owned());
        if !access.chars().all(|letter| "rwm".contains(letter)) {
            return Err(Error::new(
                Kind::Invalid,
                format!("permissions {access} of {} are not of rwm", node.path),
            ));
        }
        if userns::is_initial() {
            self.nodes.push(made(node, &host, access)?);
            return Ok(());
        }
        let mut wanted = AccessFlags::F_OK;
        wanted.set(AccessFlags::R_OK, access.contains('r'));
        wanted.set(AccessFlags::W_OK, access.contains('w'));
        nix::unistd::access(&host, wanted).map_err(|errno| {
            Error::system(format!("use {}", host.display()), errno)
                .hint("an ordinary user's step can use the devices that this user can")
        })?;
        if node.file_mode.is_some() || node.uid.is_some() || node.gid.is_some() {
            warn(&format!("{} keeps its owner and mode: only root makes device nodes", node.path));
        }
        let extra = Extra::Bind { source: host, target: node.path.clone(), writable: true };
        self.mounts.push((extra, StubKind::File));
        Ok(())
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), Error> {
        let source = mount.host_path.clone();
        let found = fs::metadata(&source);
        let kind = match (mount.kind.as_deref(), found) {
            (None | Some("" | "bind" | "none"), Ok(found)) if !found.is_dir() => StubKind::File,
            (None | Some("" | "bind" | "none"), Err(error)) => {
                return Err(Error::system(format!("mount {}", source.display()), error));
            }
            _ => StubKind::Directory,
        };
        let extra = Extra::Described {
            source,
            target: mount.container_path.clone(),
            kind: mount.kind.clone().filter(|kind| !kind.is_empty()).unwrap_or_else(|| "bind".to_owned()),
            options: mount.options.clone(),
        };
        self.mounts.push((extra, kind));
        Ok(())
    }

    fn hook(&mut self, hook: &Hook) -> Result<(), Error> {
        let stage = hook.hook_name.as_str();
        if !STAGES.contains(&stage) {
            return Err(Error::new(Kind::Invalid, format!("there is no hook {stage}")));
        }
        let mut described = serde_json::json!({"path": hook.path, "args": hook.args, "env": hook.env});
        if let (Some(timeout), Some(fields)) = (hook.timeout, described.as_object_mut()) {
            fields.insert("timeout".to_owned(), timeout.into());
        }
        let list = self.hooks.entry(stage).or_insert_with(|| serde_json::Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.push(described);
        }
        Ok(())
    }
}

/// A node as it is described; what is not said is as the host's own.
fn made(node: &DeviceNode, host: &Path, access: String) -> Result<Node, Error> {
    let (kind, numbers) = match (&node.kind, node.major, node.minor) {
        (Some(kind), Some(major), Some(minor)) => (kind.clone(), (major, minor)),
        _ => {
            let doing = || format!("look at the device {}", host.display());
            let found = fs::metadata(host).map_err(|error| Error::system(doing(), error))?;
            let kind = match found.file_type() {
                kind if kind.is_char_device() => "c",
                kind if kind.is_block_device() => "b",
                kind if kind.is_fifo() => "p",
                _ => return Err(Error::new(Kind::Invalid, format!("{}: it is none", doing()))),
            };
            let major = i64::try_from(nix::sys::stat::major(found.rdev())).unwrap_or_default();
            let minor = i64::try_from(nix::sys::stat::minor(found.rdev())).unwrap_or_default();
            (node.kind.clone().unwrap_or_else(|| kind.to_owned()), (major, minor))
        }
    };
    let owner = (node.uid, node.gid);
    Ok(Node { path: node.path.clone(), kind, numbers, mode: node.file_mode, owner, access })
}
