//! Where a further process goes when the container's cgroup holds none: to the container's init.
//!
//! On v2 a cgroup that passes domain controllers on holds no processes itself (cgroups(7), "no internal processes"). systemd
//! in a container makes such a one of the container's cgroup, and is below it.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use super::{file, make};
use crate::error::{Error, Kind};
use crate::state;

/// A container's directory of v2 and its init, which may have gone below it.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    dir: &'a state::CgroupDir,
    init: i32,
}

/// None where the container has no directory of v2.
pub fn beside(record: &state::Cgroup, init: i32) -> Option<Beside<'_>> {
    let dir = record.dirs.iter().find(|dir| dir.version == 2)?;
    Some(Beside { dir, init })
}

/// Where init is once the container's directory is gone: one that may write to the host's tree can leave it for any other, and
/// systemd removes an empty scope. None where that is not what has happened.
pub fn followed(record: &state::Cgroup, init: i32) -> Option<state::Cgroup> {
    let [dir] = record.dirs.as_slice() else { return None };
    let text = file::read(Path::new("/proc"), &format!("{init}/cgroup")).ok()?;
    let found = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_within = Path::new(found).components().all(|part| matches!(part, Component::Normal(_)));
    (dir.version == 2 && is_within).then(|| state::Cgroup {
        driver: state::Driver::Cgroupfs,
        dirs: vec![state::CgroupDir { path: dir.mount.join(found), ..dir.clone() }],
    })
}

impl Beside<'_> {
    /// Names init's directory for the clone.
    pub fn open(&self) -> Result<File, Error> {
        make::handle(&self.path()?)
    }

    /// Puts a process there that is elsewhere already.
    pub fn attach(&self, pid: i32) -> Result<(), Error> {
        file::write(&self.path()?, "cgroup.procs", &pid.to_string())
    }

    fn path(&self) -> Result<PathBuf, Error> {
        let text = file::read(Path::new("/proc"), &format!("{}/cgroup", self.init))?;
        below(self.dir, &text)
    }
}

/// Only below the container's own directory, whose limits and end it shares: an init that may write to the host's tree could
/// have gone anywhere.
fn below(dir: &state::CgroupDir, text: &str) -> Result<PathBuf, Error> {
    let found = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let path = dir.mount.join(found);
    match path.starts_with(&dir.path) && path != dir.path {
        true => Ok(path),
        false => {
            let text = format!("join cgroup {}: it holds no processes itself", dir.path.display());
            Err(Error::new(Kind::System, text).hint(format!("the container's init is in /{found}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> state::CgroupDir {
        state::CgroupDir {
            version: 2,
            controllers: Vec::new(),
            mount: PathBuf::from("/sys/fs/cgroup"),
            path: PathBuf::from("/sys/fs/cgroup/a/box"),
        }
    }

    #[test]
    fn init_is_followed_within_the_container_s_own_tree_only() {
        let within = below(&dir(), "1:name=systemd:/x\n0::/a/box/init.scope\n").unwrap();
        assert_eq!(within, Path::new("/sys/fs/cgroup/a/box/init.scope"));
        for outside in ["/a/box", "/a/boxes/b", "/", "/../b"] {
            let error = below(&dir(), &format!("0::{outside}\n")).unwrap_err();
            let said = format!(
                "join cgroup /sys/fs/cgroup/a/box: it holds no processes itself (the container's init is in {outside})"
            );
            assert_eq!(error.to_string(), said);
        }
    }
}
