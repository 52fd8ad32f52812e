//! What a creation that failed leaves on the host where the container has no mount namespace of its own.

use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;

use crate::plan::rootfs::{Pivot, Rootfs};

/// The mount at the place of the root before anything is made; None where nothing can be left.
pub fn look(rootfs: &Rootfs) -> Option<String> {
    match rootfs.pivot {
        Pivot::InPlace => mount_at(&rootfs.path),
        Pivot::PivotRoot | Pivot::MoveOver => None,
    }
}

/// Takes away what lies there since then, with everything in it.
pub fn undo(rootfs: &Rootfs, before: Option<&str>) {
    let Some(before) = before else { return };
    if mount_at(&rootfs.path).is_some_and(|now| now != before) {
        // Best effort: an error is on its way already, and says more.
        let _ = umount2(&rootfs.path, MntFlags::MNT_DETACH);
    }
}

/// By the kernel's number.
fn mount_at(path: &Path) -> Option<String> {
    let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", place.as_raw_fd())).ok()?;
    told.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(|id| id.trim().to_owned())
}
