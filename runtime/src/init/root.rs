//! The container's root: attached, entered, sealed.
//!
//! It is attached over `/` itself: that place is always reachable, whatever the modes on the way to the bundle are, and paths from
//! `/` still lead into the host's tree, since a walk begins below what covers its first step. Whoever enters the mount namespace begins
//! on top, though: for hooks it is attached at its own path first, and moved when they have run.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, fstat};

use crate::error::{Error, Kind};
use crate::plan::Side;
use crate::plan::mount_options::Tree;
use crate::plan::rootfs::{Access, Pivot, Propagation, Rootfs};
use crate::sys;

/// Cuts or keeps the ties between the host's mounts and this namespace's copies.
pub fn set_propagation(rootfs: &Rootfs) -> Result<(), Error> {
    if rootfs.pivot == Pivot::InPlace {
        // Those are the host's mounts themselves.
        return Ok(());
    }
    change_propagation("/", rootfs.propagation)
        .map_err(|source| Error::system("set the propagation of the host's mounts", source))
}

fn change_propagation(path: &str, propagation: Propagation) -> std::io::Result<()> {
    let mut flags = MsFlags::from_bits_truncate(propagation.flag);
    flags.set(MsFlags::MS_REC, propagation.recursive);
    Ok(mount(None::<&str>, path, None::<&str>, flags, None::<&str>)?)
}

/// Whether hooks look for the container's root at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    ByNobody,
    ByHooks,
}

/// Where the root is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where it is entered.
    Last,
    /// At its path, from where it is still to be moved.
    AtItsPath,
}

/// Puts the detached tree over `/`, or over the directory that it is a copy of. `opened` says on which side of `set_propagation` it
/// was opened.
pub fn attach(rootfs: &Rootfs, tree: &OwnedFd, opened: Side, seen: Seen) -> Result<Place, Error> {
    if rootfs.pivot == Pivot::InPlace {
        return attach_in_place(&rootfs.path, tree).map(|()| Place::Last);
    }
    let wrong = |source: std::io::Error| {
        Error::system(format!("attach the root file system {}", rootfs.path.display()), source)
    };
    if rootfs.propagation.flag == libc::MS_SHARED {
        // What is attached to a shared mount appears on the host too, and pivot_root refuses it.
        let private = Propagation { flag: libc::MS_PRIVATE, recursive: false };
        change_propagation("/", private).map_err(wrong)?;
    }
    let is_parted = matches!(rootfs.propagation.flag, libc::MS_SLAVE | libc::MS_PRIVATE);
    if opened == Side::Host || !is_parted {
        // A new root that is shared is refused by pivot_root too: the old one lies on it for a moment. It is one where it was opened
        // in a host whose mounts are shared, as systemd makes them; and so is what is mounted below it.
        let (kind, depth) = match (opened, rootfs.parted()) {
            (Side::Host, Some(kind)) => (kind, Tree::Whole.flag()),
            _ => (libc::MS_PRIVATE, 0),
        };
        sys::mount::set_propagation(tree, kind, depth).map_err(wrong)?;
    }
    if seen == Seen::ByHooks && attach_at_path(rootfs, tree).map_err(wrong)? {
        return Ok(Place::AtItsPath);
    }
    sys::mount::attach_over_root(tree).map_err(wrong).map(|()| Place::Last)
}

/// False where it cannot be: a mapped root may not reach the path, and whoever comes in where a stage is needed begins on the stage.
fn attach_at_path(rootfs: &Rootfs, tree: &OwnedFd) -> std::io::Result<bool> {
    if sys::staged::is_there() {
        return Ok(false);
    }
    let place = match open(&rootfs.path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    {
        Err(nix::errno::Errno::EACCES) => return Ok(false),
        other => other?,
    };
    if rootfs.propagation.flag == libc::MS_SHARED {
        part_mount_of(&rootfs.path)?;
    }
    sys::mount::attach(tree, &place)?;
    Ok(true)
}

/// Ends the propagation of the mount that a path is on: what is attached there would appear on the host too, and could not be moved.
fn part_mount_of(path: &Path) -> std::io::Result<()> {
    for place in std::fs::canonicalize(path)?.ancestors() {
        match mount(None::<&str>, place, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>) {
            // No mount begins here.
            Err(nix::errno::Errno::EINVAL) => {}
            other => return Ok(other?),
        }
    }
    Ok(())
}

/// Moves it to where it is entered.
pub fn raise(rootfs: &Rootfs, root: &OwnedFd, place: Place) -> Result<(), Error> {
    match place {
        Place::Last => Ok(()),
        Place::AtItsPath => sys::mount::attach_over_root(root).map_err(|source| {
            Error::system(format!("move the root file system {}", rootfs.path.display()), source)
        }),
    }
}

/// Nothing of the host's mounts is changed, and nothing that is mounted in the copy spreads to others.
fn attach_in_place(path: &Path, tree: &OwnedFd) -> Result<(), Error> {
    let wrong = |source: std::io::Error| {
        Error::system(format!("attach the root file system {}", path.display()), source)
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let open = |path: &Path| open(path, flags, Mode::empty()).map_err(|errno| wrong(errno.into()));
    let same = |one: &OwnedFd, other: &OwnedFd| {
        let (one, other) = (fstat(one)?, fstat(other)?);
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    };
    let (place, top) = (open(path)?, open(Path::new("/"))?);
    if same(&place, &top).map_err(|errno: nix::errno::Errno| wrong(errno.into()))? {
        let text = "the host's own root can be a container's only in a mount namespace";
        return Err(Error::new(Kind::Unsupported, format!("attach the root file system: {text}")));
    }
    if !same(&place, tree).map_err(|errno| wrong(errno.into()))? {
        let text = format!("attach the root file system: {} was replaced meanwhile", path.display());
        return Err(Error::new(Kind::Attack, text));
    }
    sys::mount::attach(tree, &place).map_err(wrong)?;
    // On a shared mount it has become one.
    sys::mount::set_propagation(tree, libc::MS_PRIVATE, Tree::Whole.flag()).map_err(wrong)
}

/// Makes it `/`; the host's tree is out of reach afterwards.
pub fn enter(rootfs: &Rootfs, root: &OwnedFd) -> Result<(), Error> {
    let entered = match rootfs.pivot {
        Pivot::PivotRoot => pivot(rootfs, root),
        Pivot::MoveOver => move_over(rootfs, root),
        Pivot::InPlace => change_root(root),
    };
    entered.map_err(|source| {
        let error = Error::system(format!("make {} the root", rootfs.path.display()), source);
        match (rootfs.pivot, error.errno()) {
            (Pivot::PivotRoot, Some(libc::EINVAL)) => error.hint("on an initramfs, --no-pivot is needed"),
            _ => error,
        }
    })
}

fn pivot(rootfs: &Rootfs, root: &OwnedFd) -> std::io::Result<()> {
    nix::unistd::fchdir(root)?;
    sys::mount::pivot_root_here()?;
    // The old root lies over the new one now: "." begins at the new one and goes up to what covers it (pivot_root(2)). Root and
    // working directory are the new one already.
    if sys::staged::is_there() {
        // And the stage over it.
        umount2(".", MntFlags::MNT_DETACH)?;
    }
    // `..` ends on top, where "." as the place of a change does not.
    part_from_host(rootfs, "/..")?;
    Ok(umount2(".", MntFlags::MNT_DETACH)?)
}

/// Without pivot_root the host's mounts stay below. Whatever of proc and sysfs lies there is unmounted or covered first: a
/// process that gets out of its root would find the whole host in them.
fn move_over(rootfs: &Rootfs, root: &OwnedFd) -> std::io::Result<()> {
    for path in ["/proc", "/sys"] {
        part_from_host(rootfs, path)?;
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL) => {}
            // Locked by a more privileged namespace.
            Err(nix::errno::Errno::EPERM) => cover(path)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    change_root(root)
}

/// What is unmounted below a shared mount goes from the host as well: its /proc, /sys and /dev.
fn part_from_host(rootfs: &Rootfs, path: &str) -> std::io::Result<()> {
    if rootfs.propagation.flag != libc::MS_SHARED {
        return Ok(());
    }
    match change_propagation(path, Propagation::RSLAVE) {
        // Nothing is mounted there.
        Err(source) if source.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

/// Goes in, and nowhere else.
pub fn change_root(root: &OwnedFd) -> std::io::Result<()> {
    nix::unistd::fchdir(root)?;
    nix::unistd::chroot(".")?;
    Ok(nix::unistd::chdir("/")?)
}

fn cover(path: &str) -> std::io::Result<()> {
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>)?)
}

/// The last changes of the root itself.
pub fn seal(rootfs: &Rootfs, root: &OwnedFd) -> Result<(), Error> {
    if let Some(propagation) = rootfs.final_propagation {
        let recursive = if propagation.recursive { Tree::Whole } else { Tree::One };
        sys::mount::set_propagation(root, propagation.flag, recursive.flag())
            .map_err(|source| Error::system("set the propagation of the container's root", source))?;
    }
    match rootfs.access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => sys::mount::set_attrs(root, libc::MOUNT_ATTR_RDONLY, 0, 0)
            .map_err(|source| Error::system("make the container's root read-only", source)),
    }
}
