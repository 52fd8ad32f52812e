//! The shim's socket: its name, its private directory, and who gets to listen.

use std::fs::{self, DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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

/// sha256 of containerd's socket, the namespace and the group: two daemons, or two namespaces, never meet.
pub(crate) fn name(containerd: &str, namespace: &str, group: &str) -> String {
    let digest = Sha256::digest(format!("{containerd}/{namespace}/{group}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `dir` if nobody else can enter it, else a private directory inside it.
///
/// containerd's shims make /run/containerd/s with mode 0711. A socket there would be protected by nothing but its own
/// mode and its unguessable name.
pub(crate) fn private_dir(dir: &Path) -> Result<PathBuf, Error> {
    if is_private(dir)? {
        return Ok(dir.to_owned());
    }
    let inside = dir.join("coracle");
    if is_private(&inside)? {
        return Ok(inside);
    }
    Err(Error::new(Kind::System, format!("use {} for sockets: others can enter it", inside.display())))
}

/// Makes `dir` if it is not there.
fn is_private(dir: &Path) -> Result<bool, Error> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).doing(|| format!("create {}", parent.display()))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::system(format!("create {}", dir.display()), error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(dir).doing(|| format!("look at {}", dir.display()))?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw();
    Ok(found.is_dir() && ours && found.mode() & 0o077 == 0)
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
    let dir = path.parent().unwrap_or(Path::new("/"));
    let dir_file = File::open(dir).doing(|| format!("open {}", dir.display()))?;
    let _lock = Flock::lock(dir_file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::system(format!("lock {}", dir.display()), errno.into()))?;
    if socket::connect_to(path).is_ok() {
        return Ok(Claim::Existing);
    }
    remove(path)?;
    Ok(Claim::New(socket::listen_at(path).doing(|| format!("listen on {}", path.display()))?))
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
    fn the_name_is_the_sha256_of_the_three_parts() {
        // printf /run/containerd/containerd.sock/default/a1 | sha256sum
        assert_eq!(
            name("/run/containerd/containerd.sock", "default", "a1"),
            "b06fb43eabae9be14ad6cef61010a9864cc528f35c3a86047fec37b2a165f5a2"
        );
    }

    #[test]
    fn a_directory_others_may_enter_gets_a_private_one_inside() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("s");
        assert_eq!(private_dir(&dir).unwrap(), dir);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).unwrap();
        let inside = private_dir(&dir).unwrap();
        assert_eq!(inside, dir.join("coracle"));
        assert_eq!(fs::metadata(&inside).unwrap().mode() & 0o777, 0o700);
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
