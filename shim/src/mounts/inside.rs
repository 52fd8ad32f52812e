//! Places inside a root filesystem whose content is a stranger's: a link in an image leads to another place of that image.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::error::{Doing, Error};
use crate::sys::fd;

/// A directory that is named by a descriptor, so that nothing on its path counts any more.
pub(super) struct Inside {
    dir: OwnedFd,
}

impl Inside {
    /// `target` below `root`, as a process whose root directory `root` is would find it.
    pub(super) fn find(root: &Path, target: &str) -> Result<Inside, Error> {
        let doing = || format!("find {target} in {}", root.display());
        let root = fd::open_path(root, OFlag::O_PATH | OFlag::O_DIRECTORY).doing(doing)?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let dir = openat2(&root, target, how).doing(doing)?;
        Ok(Inside { dir })
    }

    /// For calls that take a path.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_stay_inside() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("root");
        std::fs::create_dir_all(root.join("var/tmp")).unwrap();
        std::os::unix::fs::symlink("/var/tmp", root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../var/tmp", root.join("relative")).unwrap();
        for target in ["var/tmp", "/var/tmp", "absolute", "relative", "../../var/tmp"] {
            let inside = Inside::find(&root, target).unwrap();
            assert_eq!(std::fs::read_link(inside.path()).unwrap(), root.join("var/tmp"), "{target}");
        }
        let missing = Inside::find(&root, "etc").map(|_| ()).unwrap_err().to_string();
        assert_eq!(missing, format!("find etc in {}: No such file or directory", root.display()));
    }
}
