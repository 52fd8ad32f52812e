//! The shim's socket: its name, its private directory, and who gets to listen.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::error::{Doing, Error, Kind};
use crate::sys::socket;

/// Where containerd's own shims put theirs.
pub(crate) const DEFAULT_DIR: &str = "/run/containerd/s";

pub(crate) enum Claim {
    /// Nobody listened there; now we do.
    New(OwnedFd),
    /// A shim of the same group answers.
    Existing,
}

/// The directory of our sockets inside containerd's.
const OWN: &str = "coracle";

/// Half of the sha256 of containerd's socket, the namespace and the group: two daemons, or two namespaces, never meet. With the
/// directory the path is shorter than that of containerd's own shims, wherever those lie.
pub(crate) fn name(containerd: &str, namespace: &str, group: &str) -> String {
    let digest = Sha256::digest(format!("{containerd}/{namespace}/{group}"));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A directory inside `dir` that nobody else can enter and that holds nothing but our sockets.
///
/// containerd's shims make /run/containerd/s with mode 0711. A socket there would be protected by nothing but its own
/// mode and its unguessable name.
pub(crate) fn private_dir(dir: &Path) -> Result<PathBuf, Error> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).doing(|| format!("create {}", parent.display()))?;
    }
    make_dir(dir, 0o711)?;
    let own = dir.join(OWN);
    make_dir(&own, 0o700)?;
    let found = fs::symlink_metadata(&own).doing(|| format!("look at {}", own.display()))?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw();
    if found.is_dir() && ours && found.mode() & 0o077 == 0 {
        return Ok(own);
    }
    Err(Error::new(Kind::System, format!("use {} for sockets: others can enter it", own.display())))
}

fn make_dir(dir: &Path, mode: u32) -> Result<(), Error> {
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::system(format!("create {}", dir.display()), error))
        }
        _ => Ok(()),
    }
}

/// Listens at `path` unless a living shim does. The directory is locked meanwhile: two containers of one pod may be
/// started at the same moment, and neither may take the other's fresh socket for a stale one.
pub(crate) fn claim(path: &Path) -> Result<Claim, Error> {
    if path.as_os_str().len() > socket::PATH_MAX {
        return Err(Error::new(
            Kind::Invalid,
            format!("listen on {}: the path is longer than {} bytes", path.display(), socket::PATH_MAX),
        ));
    }
    let _lock = lock(path.parent().unwrap_or(Path::new("/")))?;
    if fs::symlink_metadata(path).is_ok() && !is_dead(path) {
        return Ok(Claim::Existing);
    }
    remove(path)?;
    Ok(Claim::New(socket::listen_at(path).doing(|| format!("listen on {}", path.display()))?))
}

fn lock(dir: &Path) -> Result<Flock<File>, Error> {
    let file = File::open(dir).doing(|| format!("open {}", dir.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::system(format!("lock {}", dir.display()), errno.into()))
}

/// Whether nobody listens at a socket that is there. One whose queue is full has somebody.
pub(crate) fn is_dead(path: &Path) -> bool {
    socket::connect_to(path).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Removes the dead sockets beside a shim's own: of a `start` or a shim that was killed before containerd was connected to it,
/// which containerd therefore never asks us to delete. A directory with anything but our sockets in it is left alone.
///
/// The kernel's list tells the living ones of this network namespace without waking them; whoever is not in it is asked.
pub(crate) fn sweep(own: &Path) -> Result<(), Error> {
    let Some(dir) = own.parent().filter(|dir| dir.ends_with(OWN)) else { return Ok(()) };
    let _lock = lock(dir)?;
    let bound = fs::read("/proc/net/unix").doing(|| "read /proc/net/unix".into())?;
    let bound = String::from_utf8_lossy(&bound);
    let alive: BTreeSet<&str> = bound.lines().filter_map(|line| line.split(' ').next_back()).collect();
    for entry in fs::read_dir(dir).doing(|| format!("list {}", dir.display()))?.flatten() {
        let path = entry.path();
        let listed = path.to_str().is_none_or(|path| alive.contains(path));
        if !listed && entry.file_type().is_ok_and(|kind| kind.is_socket()) && is_dead(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a socket; one that is gone is no error.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::system(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_name_is_half_the_sha256_of_the_three_parts() {
        // printf /run/containerd/containerd.sock/default/a1 | sha256sum | head -c 32
        assert_eq!(
            name("/run/containerd/containerd.sock", "default", "a1"),
            "b06fb43eabae9be14ad6cef61010a986"
        );
    }

    #[test]
    fn sockets_lie_in_a_private_directory_inside() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("s");
        let own = private_dir(&dir).unwrap();
        assert_eq!(own, dir.join("coracle"));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&own)), (0o711, 0o700));
        assert_eq!(private_dir(&dir).unwrap(), own);
        fs::set_permissions(&own, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(
            private_dir(&dir).unwrap_err().to_string(),
            format!("use {} for sockets: others can enter it", own.display())
        );
    }

    #[test]
    fn a_sweep_takes_the_dead_sockets_and_nothing_else() {
        let top = tempfile::tempdir().unwrap();
        let dir = private_dir(&top.path().join("s")).unwrap();
        let (own, alive, dead, file) =
            (dir.join("own"), dir.join("alive"), dir.join("dead"), dir.join("file"));
        let _listening = claim(&alive).unwrap();
        drop(claim(&dead).unwrap());
        fs::write(&file, "").unwrap();
        sweep(&own).unwrap();
        assert_eq!((alive.exists(), dead.exists(), file.exists()), (true, false, true));
        let elsewhere = top.path().join("dead");
        drop(claim(&elsewhere).unwrap());
        sweep(&top.path().join("own")).unwrap();
        assert!(elsewhere.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_kept() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("s");
        let Claim::New(first) = claim(&path).unwrap() else { panic!("nobody listened") };
        assert!(matches!(claim(&path).unwrap(), Claim::Existing));
        drop(first);
        assert!(matches!(claim(&path).unwrap(), Claim::New(_)));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let path = PathBuf::from(format!("/{}", "x".repeat(107)));
        let Err(error) = claim(&path) else { panic!("too long") };
        assert_eq!(
            error.to_string(),
            format!("listen on {}: the path is longer than 107 bytes", path.display())
        );
    }
}
