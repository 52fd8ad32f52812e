//! /sys/fs/cgroup as the container sees it.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::symlinkat;

use super::mounts::{Site, directory, wrong};
use super::place::{self, Kind};
use super::{fds, fresh};
use crate::error::Error;
use crate::plan::cgroup::{Place, Version};
use crate::plan::mount_options::{Change, Param};
use crate::plan::mounts::{CgroupView, Mount};
use crate::sys::mount;

/// One mount on v2; a tmpfs with one mount for each hierarchy on v1 and hybrid hosts.
pub fn attach(planned: &Mount, view: CgroupView, site: &Site<'_>) -> Result<OwnedFd, Error> {
    let target = directory(planned, site)?;
    let fail = |source| wrong(planned, source);
    let mounted = match site.cgroups {
        [] => whole(TOP, planned, view),
        [only] if only.version == Version::V2 && view == CgroupView::Bound => {
            // /proc/self/cgroup names places in it.
            c_path(&only.mount).and_then(|top| whole(&top, planned, view))
        }
        [only] if only.version == Version::V2 => one(only, planned, view),
        _ => shelf(),
    }
    .map_err(fail)?;
    mount::attach(&mounted, &target.fd).map_err(fail)?;
    fds::leave(target.fd);
    if site.cgroups.iter().any(|place| place.version == Version::V1) {
        for place in site.cgroups {
            add(place, planned, view, site).map_err(fail)?;
        }
        let Change { set, clear } = planned.attrs.own;
        mount::set_attrs(&mounted, set, clear, 0).map_err(fail)?;
    }
    Ok(mounted)
}

const TOP: &CStr = c"/sys/fs/cgroup";

/// What the host shows, with everything below it. A copy without what is mounted below would lay bare what that covers, which the
/// kernel refuses to a user namespace.
fn whole(top: &CStr, planned: &Mount, view: CgroupView) -> std::io::Result<OwnedFd> {
    let Change { set, clear } = planned.attrs.own;
    match view {
        CgroupView::Bound => mount::clone_tree_at_with(top, libc::AT_RECURSIVE, (set, clear)),
        CgroupView::Namespaced => fresh::make("cgroup2", "cgroup", &[], set).map_err(|(source, _)| source),
    }
}

fn shelf() -> std::io::Result<OwnedFd> {
    let mode = Param::Value("mode".to_owned(), "755".to_owned());
    fresh::make("tmpfs", "tmpfs", &[mode], 0).map_err(|(source, _)| source)
}

/// A hierarchy in its directory on the shelf, and links by the names of single controllers.
fn add(place: &Place, planned: &Mount, view: CgroupView, site: &Site<'_>) -> std::io::Result<()> {
    let Some(name) = place.mount.file_name() else { return Ok(()) };
    let target = place::open(site.root, &planned.destination.join(name), Kind::Directory)?;
    let mounted = one(place, planned, view)?;
    mount::attach(&mounted, &target.fd)?;
    fds::leave(mounted);
    fds::leave(target.fd);
    if place.controllers.len() < 2 {
        return Ok(());
    }
    let shelf = place::open(site.root, &planned.destination, Kind::Directory)?;
    for controller in &place.controllers {
        match symlinkat(name, &shelf.fd, controller.as_str()) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn one(place: &Place, planned: &Mount, view: CgroupView) -> std::io::Result<OwnedFd> {
    let Change { set, clear } = planned.attrs.own;
    match view {
        CgroupView::Bound => {
            let tree = match mount::clone_tree_at(&c_path(&place.dir())?, 0) {
                // The plan let the container go without a cgroup of its own here: it is in the caller's.
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                    mount::clone_tree_at(&c_path(&place.own_dir())?, 0)?
                }
                other => other?,
            };
            mount::set_attrs(&tree, set, clear, 0)?;
            Ok(tree)
        }
        CgroupView::Namespaced => {
            let kind = match place.version {
                Version::V1 => "cgroup",
                Version::V2 => "cgroup2",
            };
            let params: Vec<Param> = place.controllers.iter().map(|controller| param(controller)).collect();
            fresh::make(kind, "cgroup", &params, set).map_err(|(source, _)| source)
        }
    }
}

fn c_path(path: &Path) -> std::io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn param(controller: &str) -> Param {
    match controller.split_once('=') {
        Some((key, value)) => Param::Value(key.to_owned(), value.to_owned()),
        None => Param::Flag(controller.to_owned()),
    }
}
