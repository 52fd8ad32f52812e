//! The cgroups of a container as the runtime made them: found by a process in them, read, never changed.
//!
//! Invariant: whether the host counts as v1 or v2 is decided as containerd does it, by what is mounted on /sys/fs/cgroup.

mod join;
mod v1;
mod v2;

pub(crate) use join::join;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;
use protobuf::Message;
use protobuf::well_known_types::any::Any;

use crate::error::{Doing, Error, Kind};

const TOP: &str = "/sys/fs/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cgroup {
    Unified(PathBuf),
    /// Controller to directory.
    Legacy(BTreeMap<String, PathBuf>),
}

impl Cgroup {
    /// Where `pid` is now.
    pub(crate) fn of(pid: Pid) -> Result<Cgroup, Error> {
        let path = format!("/proc/{pid}/cgroup");
        let table = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
        let unified = unified_host();
        // The table of mounts is long on a busy host, and only v1 asks for it.
        let mounts =
            if unified { String::new() } else { std::fs::read_to_string(MOUNTS).unwrap_or_default() };
        Ok(parse(&table, unified, &roots(&mounts)))
    }

    pub(crate) fn is_unified(&self) -> bool {
        matches!(self, Cgroup::Unified(_))
    }

    /// The directory with the files of `controller`.
    pub(crate) fn dir(&self, controller: &str) -> Option<&Path> {
        match self {
            Cgroup::Unified(dir) => Some(dir),
            Cgroup::Legacy(dirs) => dirs.get(controller).map(PathBuf::as_path),
        }
    }

    /// containerd's metrics message of this cgroup's kind.
    pub(crate) fn metrics(&self) -> Result<Any, Error> {
        let (name, bytes) = match self {
            Cgroup::Unified(dir) => ("io.containerd.cgroups.v2.Metrics", v2::metrics(dir).write_to_bytes()),
            Cgroup::Legacy(dirs) => ("io.containerd.cgroups.v1.Metrics", v1::metrics(dirs).write_to_bytes()),
        };
        let value = bytes.map_err(|e| Error::new(Kind::System, format!("encode metrics: {e}")))?;
        Ok(Any { type_url: name.into(), value, ..Any::default() })
    }
}

pub(crate) fn unified_host() -> bool {
    statfs(TOP).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// What each mount point shows: inside another container, without a cgroup namespace, only that container's part of a hierarchy.
fn roots(mountinfo: &str) -> BTreeMap<&Path, &str> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, place) = (fields.next()?, fields.next()?);
            Some((Path::new(place), root))
        })
        .collect()
}

/// Lines are `number:controllers:path`, from the root of the hierarchy; the one without controllers is the unified hierarchy.
fn parse(table: &str, unified: bool, roots: &BTreeMap<&Path, &str>) -> Cgroup {
    let mut dirs = BTreeMap::new();
    for line in table.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        if unified && controllers.is_empty() {
            return Cgroup::Unified(Path::new(TOP).join(path));
        }
        for controller in controllers.split(',').filter(|name| !name.is_empty()) {
            let name = controller.strip_prefix("name=").unwrap_or(controller);
            let mount = Path::new(TOP).join(name);
            let root = roots.get(mount.as_path()).copied().unwrap_or_default().trim_start_matches('/');
            let inner = Path::new(path).strip_prefix(root).unwrap_or(Path::new(path));
            dirs.insert(name.to_owned(), mount.join(inner));
        }
    }
    Cgroup::Legacy(dirs)
}

/// A file with one number; `max` is the largest there is, an absent file 0.
fn number(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

/// A file with a name and a number on each line.
pub(crate) fn counters(file: &Path) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

/// The part between a prefix and a suffix of each file name in `dir`: page sizes in `hugetlb.2MB.current`.
fn infixes(dir: &Path, prefix: &str, suffix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<String> =
        names.filter_map(|name| Some(name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned())).collect();
    found.retain(|infix| !infix.contains('.'));
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unified_host_has_one_directory() {
        assert_eq!(parse("0::/a/b\n", true, &BTreeMap::new()), Cgroup::Unified("/sys/fs/cgroup/a/b".into()));
    }

    #[test]
    fn a_hybrid_host_counts_as_v1() {
        let table = "5:cpu,cpuacct:/a\n2:name=systemd:/b\n1:memory:/a\n0::/c\n";
        let expected = [
            ("cpu", "/sys/fs/cgroup/cpu/a"),
            ("cpuacct", "/sys/fs/cgroup/cpuacct/a"),
            ("memory", "/sys/fs/cgroup/memory/a"),
            ("systemd", "/sys/fs/cgroup/systemd/b"),
        ];
        let dirs = expected.into_iter().map(|(name, dir)| (name.to_owned(), PathBuf::from(dir))).collect();
        assert_eq!(parse(table, false, &BTreeMap::new()), Cgroup::Legacy(dirs));
    }

    #[test]
    fn inside_another_container_a_hierarchy_begins_with_that_containers_part() {
        let mountinfo = "1 0 0:1 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         2 0 0:2 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let table = "2:memory:/docker/a/c\n1:pids:/docker/a/c\n";
        let Cgroup::Legacy(dirs) = parse(table, false, &roots(mountinfo)) else { panic!("not v1") };
        let found: Vec<_> = dirs.values().map(|dir| dir.display().to_string()).collect();
        assert_eq!(found, ["/sys/fs/cgroup/memory/c", "/sys/fs/cgroup/pids/docker/a/c"]);
    }

    #[test]
    fn numbers_counters_and_infixes_are_read_as_the_kernel_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("pids.max", "max\n");
        write("memory.events", "low 0\noom_kill 2\n");
        write("hugetlb.2MB.current", "0\n");
        write("hugetlb.2MB.rsvd.current", "0\n");
        assert_eq!(number(&dir.path().join("pids.max")), u64::MAX);
        assert_eq!(number(&dir.path().join("absent")), 0);
        assert_eq!(counters(&dir.path().join("memory.events")).get("oom_kill"), Some(&2));
        assert_eq!(infixes(dir.path(), "hugetlb.", ".current"), ["2MB"]);
    }
}
