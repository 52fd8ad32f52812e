//! The root file system and what is bound from the host, as detached copies of their mounts.
//!
//! Whoever can reach them opens them: the host, when the mapped root of a user namespace may not; init otherwise. Opened before
//! the root is attached, they keep the propagation that they had on the host.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;
use crate::plan::devices::{Make, Node};
use crate::plan::mount_options::Tree;
use crate::plan::mounts::{Bind, Mount, Source, What};
use crate::plan::rootfs::Rootfs;
use crate::plan::{Plan, Side};
use crate::sys::mount;

/// Detached mounts, by the plan's indexes.
#[derive(Debug, Default)]
pub struct Sources {
    pub root: Option<OwnedFd>,
    pub binds: Vec<Option<OwnedFd>>,
    pub devices: Vec<Option<OwnedFd>>,
    /// User namespaces with the mappings of idmapped mounts.
    pub idmaps: Vec<Option<OwnedFd>>,
}

impl Sources {
    /// All that are open.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let Self { root, binds, devices, idmaps } = self;
        let lists = [binds, devices, idmaps].into_iter().flatten().flatten();
        root.iter().chain(lists).map(AsRawFd::as_raw_fd)
    }

    /// What the host has copied, the root apart, becomes the container's alone.
    pub fn part(&self, rootfs: &Rootfs) -> Result<(), Error> {
        let Some(kind) = rootfs.parted() else { return Ok(()) };
        [&self.binds, &self.devices].into_iter().flatten().flatten().try_for_each(|tree| {
            mount::set_propagation(tree, kind, Tree::Whole.flag())
                .map_err(|source| Error::system("part a mount's source from the host's mounts", source))
        })
    }

    /// The user namespace for the mount of this index.
    pub fn idmap(&self, at: usize) -> Option<&OwnedFd> {
        self.idmaps.get(at).and_then(Option::as_ref)
    }
}

/// Opens whatever is not open yet.
pub fn open(plan: &Plan, sources: &mut Sources) -> Result<(), Error> {
    if sources.root.is_none() {
        sources.root = Some(open_root(&plan.rootfs.path).map_err(|error| unreachable(plan, error))?);
    }
    open_binds(&plan.mounts, sources).map_err(|error| unreachable(plan, error))?;
    if sources.devices.is_empty() && plan.devices.make == Make::Bind {
        let opened: Result<Vec<_>, Error> = plan.devices.nodes.iter().map(open_device).collect();
        sources.devices = opened?;
    }
    Ok(())
}

/// The sources of binds from the host, unless they are open.
pub fn open_binds(mounts: &[Mount], sources: &mut Sources) -> Result<(), Error> {
    if !sources.binds.is_empty() {
        return Ok(());
    }
    for (at, planned) in mounts.iter().enumerate() {
        let opened = match &planned.what {
            What::Bind(bind) => open_bind(bind, sources.idmap(at))?,
            _ => None,
        };
        sources.binds.push(opened);
    }
    Ok(())
}

/// The host was to open it, and had no call to.
fn unreachable(plan: &Plan, error: Error) -> Error {
    match (plan.sources, error.errno()) {
        (Side::Host, Some(libc::EACCES)) => error
            .hint("the mapped root may not reach it; without open_tree (Linux 5.2) nobody opens it for him"),
        _ => error,
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    clone_at(path, Tree::Whole)
        .map_err(|source| Error::system(format!("open the root file system {}", path.display()), source))
}

fn open_bind(bind: &Bind, idmap: Option<&OwnedFd>) -> Result<Option<OwnedFd>, Error> {
    let Source::Host(path) = &bind.source else { return Ok(None) };
    let mount = clone_at(path, bind.tree)
        .map_err(|source| Error::system(format!("open the mount source {}", path.display()), source))?;
    translate(&mount, bind, idmap)?;
    Ok(Some(mount))
}

/// Makes the mount an idmapped one where that was asked for.
pub fn translate(mount: &OwnedFd, bind: &Bind, idmap: Option<&OwnedFd>) -> Result<(), Error> {
    let (Some(wanted), Some(users)) = (&bind.idmap, idmap) else { return Ok(()) };
    mount::set_idmap(mount, users, wanted.tree.flag()).map_err(|source| {
        let (Source::Host(path) | Source::Root(path)) = &bind.source;
        let hint = match source.raw_os_error() {
            Some(libc::ENOSYS) => "idmapped mounts need mount_setattr, of Linux 5.12",
            _ => "its file system may not know idmapped mounts, or belong to another user namespace",
        };
        Error::system(format!("map the ids of the mount source {}", path.display()), source).hint(hint)
    })
}

/// None for a pipe, which is made, and never comes from the host.
fn open_device(node: &Node) -> Result<Option<OwnedFd>, Error> {
    if node.kind == libc::S_IFIFO {
        return Ok(None);
    }
    let mount = clone_at(&node.path, Tree::One)
        .map_err(|source| Error::system(format!("open the device {}", node.path.display()), source))?;
    Ok(Some(mount))
}

fn clone_at(path: &Path, tree: Tree) -> std::io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(std::io::Error::other)?;
    mount::clone_tree_at(&path, tree.flag())
}

/// A copy of what is open, which is in this mount namespace.
pub fn clone_of(open: impl AsFd, tree: Tree) -> std::io::Result<OwnedFd> {
    mount::clone_tree(open, tree.flag())
}
