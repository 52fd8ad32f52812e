//! The directories of a cgroup: one on v2, one for each hierarchy on v1.

use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::plan::facts::{Cgroups, Hierarchy};
use crate::plan::text;

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub version: Version,
    /// Empty for v2.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// Relative to the mount.
    pub path: PathBuf,
    /// Where the caller is, relative to the mount: there the container stays if it goes without a cgroup of its own.
    pub own: PathBuf,
}

impl Place {
    /// The directory on the host.
    pub fn dir(&self) -> PathBuf {
        self.mount.join(&self.path)
    }

    /// The caller's own directory on the host.
    pub fn own_dir(&self) -> PathBuf {
        self.mount.join(&self.own)
    }

    /// Has this v1 controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }
}

/// Which generation of the interface a directory has (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// `asked` is `linux.cgroupsPath`: an absolute one counts from the mount, a relative one, and a bare id, from where the
/// caller is (v1), or beside it (v2, where a cgroup with processes can have no limited children).
pub fn plan(asked: Option<&Path>, id: &str, cgroups: &Cgroups) -> Result<Vec<Place>, Error> {
    let asked = asked.filter(|path| !path.as_os_str().is_empty());
    if asked.is_some_and(|path| path.as_os_str().as_encoded_bytes().contains(&0)) {
        return Err(text::invalid("linux.cgroupsPath", "contains a NUL character"));
    }
    let path = asked.unwrap_or(Path::new(id));
    let v2 = cgroups.v2.iter().map(|hierarchy| {
        let beside = hierarchy.own.parent().unwrap_or(Path::new("/"));
        place(Version::V2, hierarchy, beside, path)
    });
    let v1 = cgroups.v1.iter().map(|hierarchy| place(Version::V1, hierarchy, &hierarchy.own, path));
    Ok(v2.chain(v1).collect())
}

fn place(version: Version, hierarchy: &Hierarchy, from: &Path, path: &Path) -> Place {
    Place {
        version,
        controllers: hierarchy.controllers.clone(),
        mount: hierarchy.mount.clone(),
        path: clean(&from.join(clean_keeping_root(path))),
        own: clean(&hierarchy.own),
    }
}

/// `..` never leads above what a relative path starts from.
fn clean_keeping_root(path: &Path) -> PathBuf {
    match path.is_absolute() {
        true => Path::new("/").join(clean(path)),
        false => clean(path),
    }
}

/// Without `.` and `..`, relative.
fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, part| {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => _ = clean.pop(),
            _ => {}
        }
        clean
    })
}
