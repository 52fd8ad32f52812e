//! Mount points that the image does not have: made for the container, taken away again before anybody sees them.
//!
//! A runtime would make them itself and leave them in the layer.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, UtimensatFlags, fstat, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::Error;
use crate::sys::root;

/// What was made, in order.
#[derive(Debug, Default)]
pub struct Stubs(Vec<Stub>);

#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    /// As the parent was before.
    before: FileStat,
    name: OsString,
    kind: Kind,
}

/// What a mount needs to be put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
}

/// Below these the runtime mounts file systems of its own.
const RUNTIMES_OWN: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Makes the targets that are missing in `root`, and the runtime's own three.
///
/// # Errors
/// The file system's.
pub fn make<'t>(
    root: BorrowedFd<'_>,
    targets: impl Iterator<Item = (&'t str, Kind)>,
) -> Result<Stubs, Error> {
    let mut stubs = Stubs::default();
    let own = RUNTIMES_OWN.into_iter().map(|path| (path, Kind::Directory));
    for (target, kind) in own.chain(targets) {
        let below_own =
            RUNTIMES_OWN.iter().any(|own| target.strip_prefix(own).is_some_and(|rest| rest.starts_with('/')));
        if !below_own {
            stubs
                .make(root, Path::new(target), kind)
                .map_err(|error| Error::system(format!("make the mount point {target}"), error))?;
        }
    }
    Ok(stubs)
}

impl Stubs {
    fn make(&mut self, root: BorrowedFd<'_>, target: &Path, kind: Kind) -> io::Result<()> {
        match root::open(root, target, OFlag::O_PATH) {
            Ok(_) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        let directory = match kind {
            Kind::Directory => target,
            Kind::File => target.parent().unwrap_or(Path::new("/")),
        };
        // Each directory that is made changes the time of the one around it, known before only by looking first.
        let mut made = Vec::new();
        let before = self.times_along(root, directory);
        let parent = root::make_dirs(root, directory, |parent, name, _| {
            made.push((parent.try_clone()?, name.to_owned()));
            Ok(())
        })?;
        for (parent, name) in made {
            let now = fstat(&parent)?;
            let before = before.iter().find(|old| (old.st_dev, old.st_ino) == (now.st_dev, now.st_ino));
            let before = before.copied().unwrap_or(now);
            self.0.push(Stub { before, parent, name, kind: Kind::Directory });
        }
        if let (Kind::File, Some(name)) = (kind, target.file_name()) {
            let before = fstat(&parent)?;
            match root::create_child(&parent, name, 0o644) {
                // A link to what is not there, as an image's /etc/resolv.conf often is.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return self.make(root, &root::beside(target, &parent, name)?, kind);
                }
                made => drop(made?),
            }
            self.0.push(Stub { parent, before, name: name.to_owned(), kind: Kind::File });
        }
        Ok(())
    }

    fn times_along(&self, root: BorrowedFd<'_>, path: &Path) -> Vec<FileStat> {
        path.ancestors()
            .filter_map(|at| root::open(root, at, OFlag::O_PATH).ok())
            .filter_map(|directory| fstat(&directory).ok())
            .collect()
    }

    /// Takes away what was made and is still as it was made.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(self) -> Result<(), Error> {
        self.0.into_iter().rev().try_for_each(|stub| {
            stub.remove().map_err(|error| {
                Error::system(format!("remove the mount point {}", stub.name.to_string_lossy()), error)
            })
        })
    }
}

impl Stub {
    fn remove(&self) -> io::Result<()> {
        let name = self.name.as_os_str();
        let flags = match self.kind {
            Kind::Directory => UnlinkatFlags::RemoveDir,
            Kind::File => {
                let empty = fstatat(&self.parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                    .is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_size == 0);
                if !empty {
                    return Ok(());
                }
                UnlinkatFlags::NoRemoveDir
            }
        };
        match unlinkat(&self.parent, name, flags) {
            Ok(()) => {
                let mtime = TimeSpec::new(self.before.st_mtime, self.before.st_mtime_nsec);
                Ok(utimensat(&self.parent, ".", &mtime, &mtime, UtimensatFlags::FollowSymlink)?)
            }
            // The step put something there, or took it away itself: then it is the step's.
            Err(nix::errno::Errno::ENOTEMPTY | nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => {
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_dangling_link_s_target_is_made_inside_and_taken_away() {
        let outside = tempfile::tempdir().unwrap();
        let place = outside.path().join("root");
        fs::create_dir_all(place.join("etc")).unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", place.join("etc/resolv.conf")).unwrap();
        symlink("/../../escaped", place.join("etc/hosts")).unwrap();
        symlink("loop", place.join("loop")).unwrap();
        let root = root::open_dir(&place).unwrap();
        let targets = [("/etc/resolv.conf", Kind::File), ("/etc/hosts", Kind::File)];
        let stubs = make(root.as_fd(), targets.into_iter()).unwrap();
        let there =
            ["run/systemd/resolve/stub-resolv.conf", "escaped"].map(|name| place.join(name).is_file());
        assert_eq!((there, outside.path().join("escaped").exists()), ([true, true], false));
        stubs.remove().unwrap();
        assert!(!place.join("run").exists() && !place.join("escaped").exists());
        let error = make(root.as_fd(), [("/loop", Kind::File)].into_iter()).unwrap_err().to_string();
        assert!(error.starts_with("make the mount point /loop: "), "{error}");
    }
}
