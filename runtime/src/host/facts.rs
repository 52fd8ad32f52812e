//! Measures what a plan depends on, and nothing else: eight system calls on a cgroup v2 host.

use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};

use super::cgroup::file::read_kernel;
use super::cgroup::systemd_socket;
use crate::error::{Error, Kind};
use crate::plan::caps::{self, CapSet};
use crate::plan::cgroup::systemd::Bus;
use crate::plan::facts::{
    Caller, Cgroups, Facts, Hierarchy, Interest, Kernel, Maker, Ownership, Security, Setgroups, UserNs,
};

/// Inode of the first user namespace, fixed in the kernel (PROC_USER_INIT_INO).
const FIRST_USER_NS: u64 = 0xEFFF_FFFD;
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Who calls, on which kernel, with which cgroups.
pub fn measure(interest: Interest) -> Result<Facts, Error> {
    let caller = caller()?;
    let mut cgroups = if interest.cgroups { cgroups()? } else { Cgroups::default() };
    if interest.maker && needs_systemd(&caller, &cgroups) {
        cgroups.maker = Maker::Systemd;
    }
    Ok(Facts {
        caller,
        kernel: if interest.kernel { kernel()? } else { Kernel::default() },
        security: if interest.security { security() } else { Security::default() },
        cgroups,
    })
}

/// The kernel asks for a right over what the caller's cgroup and the new one have in common: the directory above both. (One in a user
/// namespace of his own may be in a pid namespace too, whose numbers mean nothing to systemd.)
fn needs_systemd(caller: &Caller, cgroups: &Cgroups) -> bool {
    let Some(v2) = cgroups.v2.as_ref().filter(|_| cgroups.v1.is_empty()) else { return false };
    if caller.may(caps::SYS_ADMIN) || caller.user_ns == UserNs::Nested {
        return false;
    }
    let above = v2.own.parent().unwrap_or(Path::new("/"));
    let above = v2.mount.join(above.strip_prefix("/").unwrap_or(above));
    let may = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
    !(may(&above) && may(&above.join("cgroup.procs"))) && systemd_socket(Bus::User).is_some()
}

fn caller() -> Result<Caller, Error> {
    let status = read("/proc/self/status")?;
    let set = |field: &str| u64::from_str_radix(value(&status, field)?, 16).ok().map(CapSet);
    let id = |field: &str| value(&status, field)?.split_ascii_whitespace().nth(1)?.parse().ok();
    let parts = (id("Uid:"), id("Gid:"), set("CapEff:"), set("CapBnd:"));
    let (Some(uid), Some(gid), Some(effective), Some(bounding)) = parts else {
        return Err(Error::new(Kind::System, "read /proc/self/status: it has no ids or capabilities"));
    };
    let own = inode("/proc/self/ns/user")?;
    let user_ns = if own == FIRST_USER_NS { UserNs::Initial } else { UserNs::Nested };
    let (setgroups, network) = match user_ns {
        UserNs::Nested => (setgroups()?, network(own)),
        // Whoever is privileged in the first namespace is privileged in all.
        UserNs::Initial if effective.has(caps::SYS_ADMIN) => (Setgroups::Allow, Ownership::Ours),
        UserNs::Initial => (Setgroups::Allow, Ownership::Foreign),
    };
    let ignored_signals = value(&status, "SigIgn:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    let ignored_signals = ignored_signals.unwrap_or(0);
    let outer_uid = match user_ns {
        UserNs::Initial => uid,
        UserNs::Nested => outer(&read("/proc/self/uid_map")?, uid),
    };
    Ok(Caller { uid, outer_uid, gid, effective, bounding, user_ns, setgroups, network, ignored_signals })
}

/// The caller as the world outside of his user namespace counts.
pub(super) fn outer_uid() -> u32 {
    let uid = nix::unistd::geteuid().as_raw();
    std::fs::read_to_string("/proc/self/uid_map").map_or(uid, |map| outer(&map, uid))
}

/// By the lines of a map: inside, outside, count.
fn outer(map: &str, id: u32) -> u32 {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let distance = id.checked_sub(inside)?;
        (distance < count).then(|| outside.saturating_add(distance))
    };
    map.lines().find_map(line).unwrap_or(id)
}

fn value<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim)
}

fn inode(path: &str) -> Result<u64, Error> {
    let found = std::fs::metadata(path);
    found.map(|found| found.st_ino()).map_err(|source| Error::system(format!("look at {path}"), source))
}

fn setgroups() -> Result<Setgroups, Error> {
    match read("/proc/self/setgroups")?.trim() {
        "deny" => Ok(Setgroups::Deny),
        _ => Ok(Setgroups::Allow),
    }
}

/// EPERM means a namespace outside of ours, which is as foreign as any.
fn network(own: u64) -> Ownership {
    let owner = std::fs::File::open("/proc/self/ns/net").and_then(|net| crate::sys::ns::owner(&net));
    let owner = owner.and_then(|owner| std::fs::File::from(owner).metadata());
    match owner {
        Ok(owner) if owner.st_ino() == own => Ownership::Ours,
        _ => Ownership::Foreign,
    }
}

fn kernel() -> Result<Kernel, Error> {
    let name =
        nix::sys::utsname::uname().map_err(|errno| Error::system("ask for the kernel's name", errno))?;
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok(Kernel { major, minor }),
        _ => Err(Error::new(Kind::System, format!("read the kernel's release {release:?}: no two numbers"))),
    }
}

fn security() -> Security {
    // podman takes securityfs away before it makes a container with a user namespace; the module's own word is left then.
    let apparmor = Path::new("/sys/kernel/security/apparmor").exists()
        || std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|word| word.starts_with(b"Y"));
    Security { apparmor, selinux: Path::new("/sys/fs/selinux/enforce").exists() }
}

/// On a pure v2 host the mount table need not be read.
fn cgroups() -> Result<Cgroups, Error> {
    let own = read("/proc/self/cgroup")?;
    if is_pure_v2() {
        let v2 = v2(&own, PathBuf::from(CGROUP_ROOT), Path::new("/"));
        return Ok(Cgroups { v2: Some(v2), ..Cgroups::default() });
    }
    Ok(mounted(&read("/proc/self/mountinfo")?, &own))
}

/// Cgroup v2 is all there is.
pub fn is_pure_v2() -> bool {
    statfs(CGROUP_ROOT).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

fn v2(own: &str, mount: PathBuf, root: &Path) -> Hierarchy {
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    Hierarchy { controllers: Vec::new(), mount, own: below(path, root) }
}

/// The cgroup as it appears under a mount that shows only a part of the hierarchy (containers in containers).
fn below(path: &str, root: &Path) -> PathBuf {
    let path = Path::new(path);
    Path::new("/").join(path.strip_prefix(root).unwrap_or(path.strip_prefix("/").unwrap_or(path)))
}

fn mounted(mountinfo: &str, own: &str) -> Cgroups {
    let mut cgroups = Cgroups::default();
    for line in mountinfo.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(mount)) = (fields.next(), fields.next()) else { continue };
        let (root, mount) = (PathBuf::from(root), PathBuf::from(mount));
        match kind.split(' ').next() {
            // An operator may mount them anywhere, but runtimes use the ones at the usual place.
            Some("cgroup2") if cgroups.v2.is_none() && mount.starts_with(CGROUP_ROOT) => {
                cgroups.v2 = Some(v2(own, mount, &root));
            }
            Some("cgroup") if mount.starts_with(CGROUP_ROOT) => {
                let options = kind.rsplit(' ').next().unwrap_or_default();
                cgroups.v1.extend(hierarchy(options, own, (mount, &root)));
            }
            _ => {}
        }
    }
    cgroups
}

fn hierarchy(options: &str, own: &str, (mount, root): (PathBuf, &Path)) -> Option<Hierarchy> {
    let has = |names: &str| names.split(',').all(|name| options.split(',').any(|option| option == name));
    own.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = !names.is_empty() && has(names);
        is_it.then(|| Hierarchy {
            controllers: names.split(',').map(str::to_owned).collect(),
            mount: mount.clone(),
            own: below(path, root),
        })
    })
}

fn read(path: &str) -> Result<String, Error> {
    read_kernel(Path::new(path)).map_err(|source| Error::system(format!("read {path}"), source))
}

/// Where containers are recorded without `--root`: the whole machine's for root, else the caller's own.
pub fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match (nix::unistd::geteuid().is_root() && !is_nested(), own) {
        (false, Some(dir)) => Path::new(&dir).join("coracle"),
        (false, None) if !nix::unistd::geteuid().is_root() => {
            PathBuf::from(format!("/tmp/coracle-{}", nix::unistd::geteuid()))
        }
        _ => PathBuf::from("/run/coracle"),
    }
}

fn is_nested() -> bool {
    inode("/proc/self/ns/user").is_ok_and(|own| own != FIRST_USER_NS)
}
