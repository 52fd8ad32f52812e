//! The mounts of the configuration: what each one is, in the order in which they are made.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount as SpecMount, Spec};

use super::facts::{Facts, Ownership};
use super::ids::{self, Mapping};
use super::mount_options::{self, Attrs, Change, CopyUp, Param, Parsed, Tree};
use super::namespaces::Namespaces;
use super::rootfs::Propagation;
use super::{Options, text};
use crate::error::{Error, Kind};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute and free of `.` and `..`, in the container.
    pub destination: PathBuf,
    pub what: What,
    pub attrs: Attrs,
    /// Only after everything is in place: devices and other mounts still have to go inside.
    pub late: Change,
    pub propagation: Vec<Propagation>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Bind(Bind),
    Fresh(Fresh),
    /// The cgroup tree; what that is depends on the host's layout.
    Cgroup(CgroupView),
    /// Nothing new: other attributes for what is mounted there.
    Change,
}

/// How the container sees cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupView {
    /// In a cgroup namespace of its own: a fresh mount shows its own subtree.
    Namespaced,
    /// Outside of one: what the host has there, bound (a fresh cgroup2 mount takes milliseconds there). On v2 that is the whole tree,
    /// in which the container's own place is; of a v1 hierarchy it is the container's directory.
    Bound,
}

/// A part of another tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    pub source: Source,
    pub tree: Tree,
    pub idmap: Option<Idmap>,
    pub locks: Locks,
    /// Flags of the source that go because others were named, unless they are locked: runc sets exactly what is named, and
    /// keeps everything where nothing is.
    pub reset: u64,
}

/// Whether flags that the source has may be taken off when they are named (`rw`, `dev`, another kind of access time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// By whoever may mount.
    Open,
    /// Not for a user namespace, which gets mounts of a more privileged one: the kernel locks them (mount_namespaces(7)). The host
    /// may have opened this one with its own rights, and then nothing but we would refuse.
    Held,
}

/// Where a bind comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Host(PathBuf),
    /// Inside the container's own root, where an earlier mount may have made it.
    Root(PathBuf),
}

/// Ownership translated by the mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    pub by: Translation,
    pub tree: Tree,
}

/// What says which id becomes which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Translation {
    Mappings {
        users: Vec<Mapping>,
        groups: Vec<Mapping>,
    },
    /// The user namespace itself that the container joins.
    Joined(PathBuf),
}

/// A file system of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    pub kind: String,
    pub source: String,
    pub params: Vec<Param>,
    pub copy_up: CopyUp,
    pub mode: Mode,
}

/// The mode of a tmpfs' root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the parameters, or the file system's own affair.
    Given,
    /// That of the directory that it covers, as runc does.
    OfCovered,
}

/// What the meaning of a mount depends on.
pub struct View<'a> {
    pub namespaces: &'a Namespaces,
    pub facts: &'a Facts,
    pub rootfs: &'a Path,
    pub options: &'a Options,
}

/// All mounts, in the order of the configuration.
pub fn plan(spec: &Spec, view: &View<'_>) -> Result<Vec<Mount>, Error> {
    let mounts = spec.mounts().iter().flatten().enumerate();
    mounts.map(|(at, mount)| one(mount, view, &format!("mounts[{at}]"), spec)).collect()
}

fn one(mount: &SpecMount, view: &View<'_>, field: &str, spec: &Spec) -> Result<Mount, Error> {
    let destination = place(mount.destination(), view.rootfs);
    let destination = text::absolute(&destination, &format!("{field}.destination"))?;
    let mut parsed = mount_options::parse(mount.options().as_deref().unwrap_or_default());
    if mount.typ().as_deref() == Some("bind") && parsed.bind.is_none() {
        parsed.bind = Some(Tree::One);
    }
    let kind = match parsed.bind {
        Some(_) => "bind",
        None => mount.typ().as_deref().unwrap_or(""),
    };
    check_proc(&destination, kind, field)?;
    let what = match kind {
        _ if parsed.remount => What::Change,
        "bind" => What::Bind(bind(mount, &parsed, view, (field, spec))?),
        "cgroup" | "cgroup2" => What::Cgroup(match view.namespaces.has(libc::CLONE_NEWCGROUP) {
            true => CgroupView::Namespaced,
            false => CgroupView::Bound,
        }),
        "sysfs" if !may_mount_sysfs(view) => return Ok(bound_sysfs(destination, parsed)),
        "" => return Err(text::invalid(format!("{field}.type"), "is missing, and the mount is no bind")),
        kind => What::Fresh(fresh(kind, mount, &mut parsed)),
    };
    if !matches!(what, What::Bind(_)) && (parsed.idmap.is_some() || mount.uid_mappings().is_some()) {
        return Err(text::invalid(format!("{field}.options"), "only a bind mount can be idmapped"));
    }
    let late = late_change(&destination, &what, &mut parsed);
    Ok(Mount { destination, what, attrs: parsed.attrs, late, propagation: parsed.propagation })
}

/// Where a mount goes in the container.
pub fn place(destination: &Path, rootfs: &Path) -> PathBuf {
    inside(&clean(destination), rootfs)
}

/// Some write it with the bundle's root before it, and runc takes that off.
fn inside(destination: &Path, rootfs: &Path) -> PathBuf {
    match destination.strip_prefix(rootfs) {
        Ok(inside) => Path::new("/").join(inside),
        Err(_) => destination.to_owned(),
    }
}

/// Without `.`, `..` and double slashes. A relative destination counts from the root, as it always has in runc.
fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::from("/"), |mut clean, part| {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => _ = clean.pop(),
            _ => {}
        }
        clean
    })
}

/// What lxcfs and its like may cover; anything else below /proc could blind the runtime (CVE-2019-16884).
const OVER_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

fn check_proc(destination: &Path, kind: &str, field: &str) -> Result<(), Error> {
    let allowed = match destination {
        path if path == Path::new("/proc") => matches!(kind, "proc" | "bind"),
        path if path.starts_with("/proc") => OVER_PROC.iter().any(|known| path == Path::new(known)),
        _ => true,
    };
    match allowed {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Invalid,
            format!(
                "config.json: {field}: \"{}\" cannot be mounted because it is inside /proc",
                destination.display()
            ),
        )),
    }
}

/// What a remount sets or clears as a whole; access times it leaves alone.
const NAMED: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC
    | libc::MOUNT_ATTR_NOSYMFOLLOW;

/// One word about access times is about all of them: what is not named gets its default.
fn reset(named: Change) -> u64 {
    let times = libc::MOUNT_ATTR__ATIME | libc::MOUNT_ATTR_NODIRATIME;
    let about_times = named.set & times != 0 || named.clear & libc::MOUNT_ATTR__ATIME != 0;
    let all = match (named.is_empty(), about_times) {
        (true, _) => 0,
        (false, false) => NAMED,
        // The field of the kind of access time is cleared as a whole, whatever is set in it.
        (false, true) => return (NAMED | libc::MOUNT_ATTR_NODIRATIME) & !named.set | libc::MOUNT_ATTR__ATIME,
    };
    all & !(named.set | named.clear)
}

fn bind(mount: &SpecMount, parsed: &Parsed, view: &View<'_>, at: (&str, &Spec)) -> Result<Bind, Error> {
    let (field, spec) = at;
    let source = mount.source().as_ref().filter(|source| !source.as_os_str().is_empty());
    let source =
        source.ok_or_else(|| text::invalid(format!("{field}.source"), "a bind mount needs a source"))?;
    let source = view.options.bundle.join(source);
    let source = match source.strip_prefix(view.rootfs) {
        Ok(inside) if !inside.as_os_str().is_empty() => Source::Root(inside.to_owned()),
        _ => Source::Host(source),
    };
    let (locks, reset) = match view.namespaces.user_is_foreign() {
        // The rest is locked in a user namespace.
        true => (Locks::Held, reset(parsed.attrs.own) & libc::MOUNT_ATTR_NOSYMFOLLOW),
        false => (Locks::Open, reset(parsed.attrs.own)),
    };
    let idmap = idmap(mount, parsed, view.namespaces, (field, spec))?;
    Ok(Bind { source, tree: parsed.bind.unwrap_or(Tree::One), idmap, locks, reset })
}

/// Mappings of the mount's own; with the bare option, those of the container.
fn idmap(
    mount: &SpecMount,
    parsed: &Parsed,
    namespaces: &Namespaces,
    (field, spec): (&str, &Spec),
) -> Result<Option<Idmap>, Error> {
    let tree = parsed.idmap.unwrap_or(Tree::One);
    let own = (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
    let linux = spec.linux().as_ref();
    let containers = (
        linux.and_then(|linux| linux.uid_mappings().as_deref()),
        linux.and_then(|linux| linux.gid_mappings().as_deref()),
    );
    let (users, groups) = match (own, parsed.idmap) {
        ((None, None), None) => return Ok(None),
        ((None, None), Some(_)) => match namespaces.joined_user() {
            Some(path) => return Ok(Some(Idmap { by: Translation::Joined(path.to_owned()), tree })),
            None => containers,
        },
        (own, _) => own,
    };
    let users = ids::lines(users, &format!("{field}.uidMappings"))?;
    let groups = ids::lines(groups, &format!("{field}.gidMappings"))?;
    if users.is_empty() || groups.is_empty() {
        return Err(text::invalid(field, "an idmapped mount needs mappings of users and of groups"));
    }
    Ok(Some(Idmap { by: Translation::Mappings { users, groups }, tree }))
}

fn fresh(kind: &str, mount: &SpecMount, parsed: &mut Parsed) -> Fresh {
    let params = std::mem::take(&mut parsed.params);
    let has_mode = params.iter().any(|param| matches!(param, Param::Value(key, _) if key == "mode"));
    Fresh {
        kind: kind.to_owned(),
        source: match mount.source() {
            Some(source) if !source.as_os_str().is_empty() => source.to_string_lossy().into_owned(),
            _ => kind.to_owned(),
        },
        params,
        copy_up: parsed.copy_up,
        mode: match kind == "tmpfs" && !has_mode {
            true => Mode::OfCovered,
            false => Mode::Given,
        },
    }
}

/// A sysfs belongs to a network namespace, and only the owner of that may mount one.
fn may_mount_sysfs(view: &View<'_>) -> bool {
    if view.namespaces.has(libc::CLONE_NEWNET) {
        return true;
    }
    !view.namespaces.user_is_foreign() && view.facts.caller.network == Ownership::Ours
}

/// The host's /sys instead: the same network namespace, hence the same content.
fn bound_sysfs(destination: PathBuf, parsed: Parsed) -> Mount {
    let source = Source::Host(PathBuf::from("/sys"));
    let bind = Bind { source, tree: Tree::Whole, idmap: None, locks: Locks::Open, reset: 0 };
    let mut tree = parsed.attrs.own;
    // Access times of mounts that come from a more privileged namespace are locked.
    tree.set &= !libc::MOUNT_ATTR__ATIME;
    tree.clear = 0;
    Mount {
        destination,
        what: What::Bind(bind),
        attrs: Attrs { own: Change::default(), tree },
        late: Change::default(),
        propagation: parsed.propagation,
    }
}

/// A tmpfs becomes read-only last.
fn late_change(destination: &Path, what: &What, parsed: &mut Parsed) -> Change {
    let wait = match what {
        What::Fresh(fresh) => fresh.kind == "tmpfs" || destination == Path::new("/dev"),
        _ => false,
    };
    if !wait {
        return Change::default();
    }
    let set = parsed.attrs.own.set & libc::MOUNT_ATTR_RDONLY;
    parsed.attrs.own.set &= !set;
    Change { set, clear: 0 }
}
