//! The container's root as CRIU needs it: a mount of its own, with a place for every mount to come.
//!
//! All of it in a mount namespace that only CRIU is in: nothing is left on the host, whenever the two of us are killed.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::error::Error;
use crate::init::place::{self, Kind};
use crate::init::sources::clone_of;
use crate::plan::mounts::{Mount, Source, What};
use crate::sys;

/// In the process that becomes CRIU, after its clone.
pub(super) fn prepare(mounts: &[Mount], rootfs: &Path, at: &Path) -> Result<(), Error> {
    let wrong = |errno| Error::system(format!("prepare the root file system {}", rootfs.display()), errno);
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(wrong)?;
    attach(rootfs, at).map_err(wrong)?;
    make_places(mounts, at)?;
    // With everything that was mounted inside for places within.
    umount2(at, MntFlags::MNT_DETACH).map_err(wrong)?;
    attach(rootfs, at).map_err(wrong)
}

fn attach(rootfs: &Path, at: &Path) -> nix::Result<()> {
    mount(Some(rootfs), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
}

/// As at creation: in their order, since one may lie in another, which the host gives. CRIU makes whatever lies in a tmpfs itself.
fn make_places(mounts: &[Mount], at: &Path) -> Result<(), Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(at, flags, Mode::empty())
        .map_err(|errno| Error::system(format!("open {}", at.display()), errno))?;
    for (index, planned) in mounts.iter().enumerate() {
        let is_tmpfs =
            |earlier: &&Mount| matches!(&earlier.what, What::Fresh(fresh) if fresh.kind == "tmpfs");
        let mut tmpfs = mounts.iter().take(index).filter(is_tmpfs);
        if tmpfs.any(|earlier| planned.destination.starts_with(&earlier.destination)) {
            continue;
        }
        make_place(planned, &root).map_err(|source| {
            let text = format!("make a place for the mount on {}", planned.destination.display());
            Error::system(text, source)
        })?;
    }
    Ok(())
}

fn make_place(planned: &Mount, root: &OwnedFd) -> std::io::Result<()> {
    match &planned.what {
        What::Bind(bind) => {
            let source = match &bind.source {
                Source::Host(path) => open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?,
                Source::Root(inside) => sys::path::open_in(root, inside, OFlag::O_PATH)?,
            };
            let tree = clone_of(&source, bind.tree)?;
            let kind = match place::is_directory(&tree)? {
                true => Kind::Directory,
                false => Kind::File,
            };
            let place = place::open(root, &planned.destination, kind)?;
            sys::mount::attach(&tree, &place.fd)
        }
        What::Fresh(_) => place::open(root, &planned.destination, Kind::Directory).map(drop),
        // Its place is in the sysfs, or in the images.
        What::Cgroup(_) | What::Change => Ok(()),
    }
}
