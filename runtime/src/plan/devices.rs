//! Device nodes and links below /dev.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use super::facts::Facts;
use super::mounts::{Mount, What};
use super::namespaces::Namespaces;
use super::{caps, text};
use crate::error::Error;

/// What /dev gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    pub nodes: Vec<Node>,
    /// Name below /dev, target.
    pub links: Vec<(&'static str, &'static str)>,
    pub make: Make,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub path: PathBuf,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
    pub kind: u32,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Where a node comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Mknod,
    /// The host's node, bound: a user namespace cannot make devices.
    Bind,
}

/// Every container has these (specification, "Default Devices").
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
];

/// And these links (specification, "Dev symbolic links"; ptmx and core are runc's).
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// The default devices and those of the configuration; none when /dev is somebody else's directory.
pub fn plan(
    linux: &Linux,
    mounts: &[Mount],
    namespaces: &Namespaces,
    facts: &Facts,
) -> Result<Devices, Error> {
    let make = match facts.caller.may_on_host(caps::MKNOD) && !namespaces.user_is_foreign() {
        true => Make::Mknod,
        false => Make::Bind,
    };
    let is_bound =
        |mount: &Mount| mount.destination == Path::new("/dev") && matches!(mount.what, What::Bind(_));
    if mounts.iter().any(is_bound) {
        return Ok(Devices { nodes: Vec::new(), links: Vec::new(), make });
    }
    let mut nodes: Vec<Node> = DEFAULT.iter().map(|known| default_node(*known)).collect();
    for (at, device) in linux.devices().iter().flatten().enumerate() {
        let node = node(device, &format!("linux.devices[{at}]"))?;
        if node.path == Path::new("/dev/ptmx") {
            // It is the link to the container's own terminals, whatever else was meant.
            continue;
        }
        nodes.retain(|earlier| earlier.path != node.path);
        nodes.push(node);
    }
    Ok(Devices { nodes, links: LINKS.to_vec(), make })
}

/// What lies at /dev/null when everything is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Null {
    /// The node that is made, in a file system in which nothing else is.
    Made,
    /// Perhaps something of the image's, or of a hook's.
    Unknown,
}

/// Follows from the rest of the plan.
pub fn null(plan: &super::Plan) -> Null {
    let null = Path::new("/dev/null");
    let is_node = |node: &Node| node.path == null && (node.major, node.minor) == (1, 3);
    let is_fresh = |mount: &Mount| {
        let is_tmpfs = matches!(&mount.what, What::Fresh(fresh) if fresh.kind == "tmpfs");
        mount.destination == Path::new("/dev") && is_tmpfs
    };
    let is_made = plan.devices.make == Make::Mknod
        && plan.devices.nodes.iter().any(is_node)
        && plan.mounts.iter().any(is_fresh)
        && !plan.mounts.iter().any(|mount| mount.destination == null)
        && plan.hooks.create_container.is_empty();
    if is_made { Null::Made } else { Null::Unknown }
}

fn default_node((path, major, minor): (&str, u32, u32)) -> Node {
    Node { path: PathBuf::from(path), kind: libc::S_IFCHR, major, minor, mode: 0o666, uid: 0, gid: 0 }
}

fn node(device: &LinuxDevice, field: &str) -> Result<Node, Error> {
    let number = |value: i64, name: &str| {
        u32::try_from(value)
            .map_err(|_| text::invalid(format!("{field}.{name}"), "must be 0 or more and fit 32 bits"))
    };
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => return Err(text::invalid(format!("{field}.type"), "must be b, c, u or p")),
    };
    let is_device = kind != libc::S_IFIFO;
    Ok(Node {
        path: text::absolute(device.path(), &format!("{field}.path"))?,
        kind,
        major: if is_device { number(device.major(), "major")? } else { 0 },
        minor: if is_device { number(device.minor(), "minor")? } else { 0 },
        // The type's bits may come along, as stat(2) gives them.
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
