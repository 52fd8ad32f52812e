//! Carries out the planned mounts, in their order, each on an open descriptor in the container's root.

use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::fds;
use super::flags::{self, reset_flags, set_attrs};
use super::fresh;
use super::network::Network;
use super::place::{self, Kind, Place};
use super::sources::{Sources, clone_of, translate};
use crate::error::{self, Error};
use crate::plan::mount_options::{Change, CopyUp, Tree};
use crate::plan::mounts::{Bind, Locks, Mount, Source, What};
use crate::plan::rootfs::Rootfs;
use crate::sys::{self, mount, path};
use crate::wire::InitEnd;

/// What mounting needs beside the plan of one mount.
pub struct Site<'a> {
    pub root: &'a OwnedFd,
    pub rootfs: &'a Rootfs,
    pub sources: &'a mut Sources,
    pub cgroups: &'a [crate::plan::cgroup::Place],
    pub newest: Option<Newest>,
    /// Who maps ids of what is in the root where this process may not: the kernel asks for rights over the file system.
    pub mapper: Option<&'a InitEnd>,
    pub proc: Proc,
    pub network: Network<'a>,
}

/// Whose file system is mounted on /proc now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proc {
    Hosts,
    /// Not to be trusted in anything.
    Containers,
}

impl Site<'_> {
    /// The tmpfs in which this one goes right at the top, and its name there.
    pub fn inside_newest<'p>(&self, planned: &'p Mount) -> Option<(&OwnedFd, &'p OsStr)> {
        let newest = self.newest.as_ref().filter(|_| is_below(planned, self.newest.as_ref()))?;
        Some((&newest.top, planned.destination.file_name()?))
    }
}

/// A tmpfs that was just made, usually /dev: what is mounted right below it needs no walk, and no look whether it is there.
#[derive(Debug)]
pub struct Newest {
    path: PathBuf,
    top: OwnedFd,
}

/// Mounts all; gives those that still have a change to come, with their descriptors.
pub fn attach_all<'a>(mounts: &'a [Mount], site: &mut Site<'_>) -> Result<Vec<(&'a Mount, OwnedFd)>, Error> {
    let mut late = Vec::new();
    for (at, planned) in mounts.iter().enumerate() {
        let mounted = attach(at, planned, site)?;
        // Whatever goes elsewhere could cover it, by a link too.
        let holds_others = may_hold_others(planned, site.newest.as_ref());
        if !is_below(planned, site.newest.as_ref())
            && let Some(old) = site.newest.take()
        {
            fds::leave(old.top);
        }
        match (mounted, planned.late.is_empty()) {
            (None, _) => {}
            (Some(top), true) if holds_others => {
                site.newest = Some(Newest { path: planned.destination.clone(), top });
            }
            (Some(mounted), true) => fds::leave(mounted),
            (Some(mounted), false) => late.push((planned, mounted)),
        }
    }
    // For what comes after the mounts.
    site.network.enter()?;
    Ok(late)
}

fn is_below(planned: &Mount, newest: Option<&Newest>) -> bool {
    newest.is_some_and(|newest| planned.destination.parent() == Some(&newest.path))
}

/// An empty tmpfs that is not itself in one: what comes next may well go inside.
pub fn may_hold_others(planned: &Mount, newest: Option<&Newest>) -> bool {
    let is_empty_tmpfs =
        matches!(&planned.what, What::Fresh(fresh) if fresh.kind == "tmpfs" && fresh.copy_up == CopyUp::No);
    is_empty_tmpfs && !is_below(planned, newest)
}

/// What had to wait until nothing else has to be put inside.
pub fn change_late(late: &[(&Mount, OwnedFd)]) -> Result<(), Error> {
    for (planned, mounted) in late {
        let Change { set, clear } = planned.late;
        sys::mount::set_attrs(mounted, set, clear, 0).map_err(|source| wrong(planned, source))?;
    }
    Ok(())
}

/// None where nothing is left to be done with it.
fn attach(at: usize, planned: &Mount, site: &mut Site<'_>) -> Result<Option<OwnedFd>, Error> {
    if depends_on_network(planned) {
        site.network.enter()?;
    }
    let mounted = match &planned.what {
        What::Bind(bind) => attach_bind(at, planned, bind, site)?,
        What::Fresh(wanted) => match fresh::attach(planned, wanted, site)? {
            Some(mounted) => mounted,
            None => return Ok(None),
        },
        What::Cgroup(view) => super::cgroup::attach(planned, *view, site)?,
        What::Change => change(planned, site)?,
    };
    for propagation in &planned.propagation {
        let recursive = if propagation.recursive { Tree::Whole } else { Tree::One };
        mount::set_propagation(&mounted, propagation.flag, recursive.flag())
            .map_err(|source| wrong(planned, source))?;
    }
    Ok(Some(mounted))
}

/// sysfs shows one, a file system of another machine is reached through one; these four have nothing to do with any.
fn depends_on_network(planned: &Mount) -> bool {
    match &planned.what {
        What::Fresh(fresh) => !matches!(fresh.kind.as_str(), "proc" | "tmpfs" | "devpts" | "mqueue"),
        What::Bind(_) | What::Cgroup(_) | What::Change => false,
    }
}

fn attach_bind(at: usize, planned: &Mount, bind: &Bind, site: &mut Site<'_>) -> Result<OwnedFd, Error> {
    let fail = |source| bind_wrong(planned, bind, source);
    let tree = match &bind.source {
        Source::Host(_) => site.sources.binds.get_mut(at).and_then(Option::take),
        Source::Root(inside) => {
            let open = path::open_in(site.root, inside, OFlag::O_PATH).map_err(fail)?;
            let tree = clone_of(&open, bind.tree).map_err(fail)?;
            match (&bind.idmap, site.mapper) {
                (Some(_), Some(host)) => mapped_by(host, at, &tree)?,
                _ => translate(&tree, bind, site.sources.idmap(at))?,
            }
            Some(tree)
        }
    };
    let Some(tree) = tree else {
        return Err(fail(std::io::Error::from_raw_os_error(libc::EBADF)));
    };
    if planned.destination == Path::new("/proc") {
        only_proc(&tree, planned)?;
    }
    let kind = match place::is_directory(&tree).map_err(fail)? {
        true => Kind::Directory,
        false => Kind::File,
    };
    // The attributes first: at no moment is it there without them.
    if bind.locks == Locks::Held {
        flags::refuse_locked(&tree, planned.attrs.own).map_err(fail)?;
    }
    reset_flags(&tree, planned.attrs.own, bind.reset)
        .and_then(|()| set_attrs(&tree, planned.attrs.tree, Tree::Whole))
        .map_err(fail)?;
    if attach_inside(&tree, planned, kind, site) {
        return Ok(tree);
    }
    let target = place(planned, kind, site).map_err(fail)?;
    mount::attach(&tree, &target.fd).map_err(fail)?;
    fds::leave(target.fd);
    Ok(tree)
}

/// What is at /proc is believed, by the container's programs and by runtimes that look into it.
fn only_proc(tree: &OwnedFd, planned: &Mount) -> Result<(), Error> {
    let found = fstatfs(tree).map_err(|errno| wrong(planned, errno.into()))?;
    match found.filesystem_type() == PROC_SUPER_MAGIC {
        true => Ok(()),
        false => {
            let text = "mount on /proc: it cannot be mounted there because it is not of type proc";
            Err(Error::new(error::Kind::Invalid, text))
        }
    }
}

/// The short way into a tmpfs that nobody else can reach yet: what was just made there is what its name means.
fn attach_inside(tree: &OwnedFd, planned: &Mount, kind: Kind, site: &Site<'_>) -> bool {
    let Some((top, name)) = site.inside_newest(planned) else { return false };
    let Ok(c_name) = CString::new(name.as_bytes()) else { return false };
    place::make_kind(top, name, kind).is_ok() && mount::attach_in(tree, top, &c_name).is_ok()
}

fn mapped_by(host: &InitEnd, at: usize, tree: &OwnedFd) -> Result<(), Error> {
    let at =
        u32::try_from(at).map_err(|source| Error::system("count mounts", std::io::Error::other(source)))?;
    host.unmapped(at, tree)?;
    host.wait()
}

fn change(planned: &Mount, site: &Site<'_>) -> Result<OwnedFd, Error> {
    let fail = |source| wrong(planned, source);
    let mounted = path::open_in(site.root, &planned.destination, OFlag::O_PATH).map_err(fail)?;
    set_attrs(&mounted, planned.attrs.own, Tree::One).map_err(fail)?;
    set_attrs(&mounted, planned.attrs.tree, Tree::Whole).map_err(fail)?;
    Ok(mounted)
}

/// Opens the place for a directory-like mount.
pub fn directory(planned: &Mount, site: &Site<'_>) -> Result<Place, Error> {
    place(planned, Kind::Directory, site).map_err(|source| wrong(planned, source))
}

fn place(planned: &Mount, kind: Kind, site: &Site<'_>) -> std::io::Result<Place> {
    if let (Some(newest), Some(name)) = (&site.newest, planned.destination.file_name())
        && planned.destination.parent() == Some(&newest.path)
        && let Ok(fd) = place::make_new(&newest.top, name, kind)
    {
        return Ok(Place { fd, origin: place::Origin::Made });
    }
    place::open(site.root, &planned.destination, kind)
}

/// proc and sysfs hold what the runtime relies on: a link in their place could send it elsewhere (CVE-2019-19921).
pub fn ordinary_directory(planned: &Mount, kind: &str, site: &Site<'_>) -> Result<Place, Error> {
    let refuse = || {
        let at = planned.destination.display();
        let text = format!("mount {kind} on {at}: filesystem {kind:?} must be mounted on ordinary directory");
        Error::new(error::Kind::Attack, text)
    };
    match path::open_plain_in(site.root, &planned.destination, OFlag::O_PATH | OFlag::O_DIRECTORY) {
        Ok(fd) => Ok(Place { fd, origin: place::Origin::Found }),
        Err(source) if matches!(source.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => Err(refuse()),
        Err(source) if source.raw_os_error() == Some(libc::ENOENT) => directory(planned, site),
        Err(source) => Err(wrong(planned, source)),
    }
}

/// The error for a mount that has no source worth naming.
pub fn wrong(planned: &Mount, source: std::io::Error) -> Error {
    let what = match &planned.what {
        What::Bind(bind) => return bind_wrong(planned, bind, source),
        What::Fresh(fresh) => fresh.kind.as_str(),
        What::Cgroup(_) => "cgroup",
        What::Change => return Error::system(format!("remount {}", planned.destination.display()), source),
    };
    Error::system(format!("mount {what} on {}", planned.destination.display()), source)
}

fn bind_wrong(planned: &Mount, bind: &Bind, source: std::io::Error) -> Error {
    let from: &Path = match &bind.source {
        Source::Host(path) | Source::Root(path) => path,
    };
    Error::system(format!("mount {} on {}", from.display(), planned.destination.display()), source)
}
