//! Layers of an overlay as a container with ids of its own sees them: the directory they share, mounted once more with its files'
//! owners shifted, for as long as it takes to mount the overlay.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::overlay;
use crate::error::{Doing, Error, Kind};
use crate::sys::idmap::{self, Access};

/// That mount; gone from its place when this is dropped, when an overlay of its layers has them for itself.
pub(super) struct Shifted {
    place: PathBuf,
    mount: OwnedFd,
}

impl Shifted {
    /// `place` is a directory that is made, and removed again.
    fn mount(shared: &Path, users: &OwnedFd, place: PathBuf) -> Result<Shifted, Error> {
        let doing = || format!("shift the owners of {}", shared.display());
        let mount = idmap::copy(shared, users, Access::ReadOnly).doing(doing)?;
        std::fs::create_dir_all(&place).doing(|| format!("create {}", place.display()))?;
        // An overlay takes no layer that is nowhere mounted.
        let attached = idmap::attach(&mount, &place).doing(doing);
        let shifted = Shifted { place, mount };
        attached.map(|()| shifted)
    }
}

impl Drop for Shifted {
    fn drop(&mut self) {
        let _gone = umount2(&self.place, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH);
        drop(std::fs::remove_dir(&self.place));
    }
}

/// The overlay's options with its layers named in such a mount, which must stay until the overlay is mounted.
pub(super) fn shift(
    data: &[String],
    users: &OwnedFd,
    place: PathBuf,
) -> Result<(Vec<String>, Shifted), Error> {
    let missing = || Error::new(Kind::Invalid, "mount overlay: its layers share no directory");
    let layers = data.iter().find_map(|option| option.strip_prefix("lowerdir=")).ok_or_else(missing)?;
    let shared = overlay::common_dir(layers).ok_or_else(missing)?;
    let shifted = Shifted::mount(Path::new(&shared), users, place)?;
    let short = format!("/proc/self/fd/{}", shifted.mount.as_raw_fd());
    let data = data.iter().map(|option| overlay::replace(option, &shared, &short)).collect();
    Ok((data, shifted))
}
