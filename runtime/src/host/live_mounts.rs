//! Adds mounts to a running container, and removes them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;

use super::exec::target;
use super::spawn::{Birth, to_its_end};
use super::{proc, sources};
use crate::error::Error;
use crate::init::mounts::{Proc, Site, attach_all, change_late};
use crate::init::namespaces::{become_root, enter_process};
use crate::init::network::Network;
use crate::init::sources::Sources;
use crate::plan::live::{Change, Deed};
use crate::state::Record;
use crate::sys::path;

/// Sources are opened in the host's view; everything else is done by a child in the container's namespaces, so that a path leads
/// nowhere else, and a proc or sysfs that is mounted is the container's.
pub fn change(record: &Record, change: &Change) -> Result<(), Error> {
    let target = target(record)?;
    carry_out(change, target).map_err(|error| match (error.errno(), error.hint_text()) {
        (Some(libc::ENOSYS), None) => error.hint(
            "a running container gets mounts by open_tree, move_mount, fsopen and their kin, of Linux 5.2, which the kernel or a seccomp filter around the runtime has not got",
        ),
        _ => error,
    })
}

fn carry_out(change: &Change, target: OwnedFd) -> Result<(), Error> {
    let proc = proc::open_proc()?;
    let mut opened = match &change.deed {
        Deed::Add(mounts) => sources::of_mounts(mounts, &proc)?,
        Deed::Remove(_) => Sources::default(),
    };
    nix::sys::prctl::set_dumpable(false).map_err(|errno| Error::system("become undumpable", errno))?;
    let mut birth = Birth::default();
    if change.before & libc::CLONE_NEWUSER != 0 {
        let target = target.try_clone().map_err(|source| Error::system("duplicate a descriptor", source))?;
        birth.before.push((change.before, target));
    } else if change.before != 0 {
        enter_process(&proc, &target, change.before)
            .map_err(|source| Error::system("join the pid namespace of the container", source))?;
    }
    to_its_end(&birth, "change mounts", || inside(change, &target, (&proc, &mut opened)))
}

fn inside(change: &Change, target: &OwnedFd, (proc, opened): (&OwnedFd, &mut Sources)) -> Result<(), Error> {
    enter_process(proc, target, change.inside)
        .map_err(|source| Error::system("join the namespaces of the container", source))?;
    if (change.before | change.inside) & libc::CLONE_NEWUSER != 0 {
        become_root()?;
    }
    // The mount namespace was entered, and with it its root.
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open the container's root", errno))?;
    match &change.deed {
        Deed::Add(mounts) => {
            opened.part(&change.rootfs)?;
            let mut site = Site {
                root: &root,
                rootfs: &change.rootfs,
                sources: opened,
                cgroups: &[],
                newest: None,
                mapper: None,
                proc: Proc::Containers,
                network: Network::default(),
            };
            let late = attach_all(mounts, &mut site)?;
            change_late(&late)
        }
        Deed::Remove(places) => places.iter().try_for_each(|place| {
            unmount(place, &root, proc).map_err(|source| {
                let is_link = source.raw_os_error() == Some(libc::ELOOP);
                let error = Error::system(format!("unmount {}", place.display()), source);
                match is_link {
                    true => error.hint(
                        "there is a link on the way, which the container may have put there: name the place that the mount is on",
                    ),
                    false => error,
                }
            })
        }),
    }
}

/// What is mounted on top. By way of the host's /proc, because the container's may show anything, and umount takes no descriptor.
/// No link is followed: the container owns the way, and would lead it to a mount that holds it back, a read-only or a masked path.
fn unmount(place: &Path, root: &OwnedFd, proc: &OwnedFd) -> std::io::Result<()> {
    let found = path::open_plain_in(root, place, OFlag::O_PATH)?;
    nix::unistd::fchdir(proc)?;
    let link = PathBuf::from(format!("self/fd/{}", found.as_raw_fd()));
    Ok(umount2(&link, MntFlags::MNT_DETACH)?)
}
