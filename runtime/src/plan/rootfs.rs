//! The root file system: where it is, how it takes the place of the host's, what spreads between the two.

use std::path::PathBuf;

use oci_spec::runtime::Spec;

use super::facts::Kernel;
use super::namespaces::Namespaces;
use super::{Options, missing, text};
use crate::error::{Error, Kind};

/// How the container's root becomes `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pivot {
    /// `pivot_root`: the old root is gone afterwards.
    PivotRoot,
    /// `--no-pivot`: the root is moved over `/`, for hosts that run from an initramfs.
    MoveOver,
    /// chroot(2), into a copy that lies over the directory: the container has no mount namespace of its own, and what it mounts
    /// is mounted in the caller's.
    InPlace,
}

/// Whether something may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// Mount propagation, with the kernel's flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    pub flag: u64,
    pub recursive: bool,
}

impl Propagation {
    /// Nothing spreads out; what the host mounts spreads in until the root is changed.
    pub const RSLAVE: Self = Self { flag: libc::MS_SLAVE, recursive: true };

    /// Reads `shared`, `rslave` and so on.
    pub fn parse(word: &str) -> Option<Self> {
        let (recursive, kind) = match word.strip_prefix('r') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let flag = match kind {
            "shared" => libc::MS_SHARED,
            "slave" => libc::MS_SLAVE,
            "private" => libc::MS_PRIVATE,
            "unbindable" => libc::MS_UNBINDABLE,
            _ => return None,
        };
        Some(Self { flag, recursive })
    }
}

/// The root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    /// Absolute, on the host.
    pub path: PathBuf,
    pub access: Access,
    /// Set on the host's tree as the new mount namespace sees it, before anything is mounted.
    pub propagation: Propagation,
    /// Set on the container's `/` at the end, where the configuration asked for one.
    pub final_propagation: Option<Propagation>,
    pub pivot: Pivot,
    /// Of SELinux, for the file systems that are made.
    pub mount_label: Option<String>,
}

impl Rootfs {
    /// What copies of the host's mounts become where they are made in the host's mount namespace, whose peers they are else: what is
    /// mounted on them would appear there. None where the configuration wants that.
    pub fn parted(&self) -> Option<u64> {
        match self.propagation.flag {
            libc::MS_SHARED => None,
            libc::MS_SLAVE => Some(libc::MS_SLAVE),
            _ => Some(libc::MS_PRIVATE),
        }
    }
}

/// Where the root is and how it is entered.
pub fn plan(spec: &Spec, options: &Options, namespaces: &Namespaces) -> Result<Rootfs, Error> {
    let root = spec.root().as_ref().ok_or_else(|| missing("root"))?;
    if root.path().as_os_str().is_empty() {
        return Err(text::invalid("root.path", "must not be empty"));
    }
    let linux = spec.linux().as_ref();
    let word = linux.and_then(|linux| linux.rootfs_propagation().as_deref()).unwrap_or("");
    let asked = match word {
        "" => None,
        word => Some(Propagation::parse(word).ok_or_else(|| bad_propagation(word))?),
    };
    Ok(Rootfs {
        path: options.bundle.join(root.path()),
        access: match root.readonly().unwrap_or(false) {
            true => Access::ReadOnly,
            false => Access::ReadWrite,
        },
        propagation: asked.map_or(Propagation::RSLAVE, |asked| Propagation { recursive: true, ..asked }),
        final_propagation: asked,
        pivot: match namespaces.has(libc::CLONE_NEWNS) {
            true => options.pivot,
            false => Pivot::InPlace,
        },
        mount_label: linux.and_then(|linux| linux.mount_label().clone()).filter(|label| !label.is_empty()),
    })
}

/// What the root is attached with cannot be parted from the host's mounts without mount_setattr: their unmounting would reach the host.
const PARTED_SINCE: Kernel = Kernel { major: 5, minor: 12 };

/// Whether what is mounted in the root shows on the host.
pub(super) fn is_shared(spec: &Spec) -> bool {
    let word = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    word.and_then(Propagation::parse).is_some_and(|asked| asked.flag == libc::MS_SHARED)
}

/// Refuses what an older kernel would do to the host.
pub(super) fn check_kernel(spec: &Spec, kernel: Kernel) -> Result<(), Error> {
    match is_shared(spec) && kernel < PARTED_SINCE {
        true => Err(Error::new(Kind::Unsupported, "linux.rootfsPropagation: a shared root needs Linux 5.12")),
        false => Ok(()),
    }
}

fn bad_propagation(word: &str) -> Error {
    text::invalid("linux.rootfsPropagation", format!("{word:?} is no kind of propagation"))
}
