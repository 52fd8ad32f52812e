//! Mounts that a running container gets, or loses.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount as SpecMount, Spec};

use super::facts::Facts;
use super::mounts::{self, Mount, View, What};
use super::rootfs::{self, Pivot, Rootfs};
use super::{Keyring, Options, cgroup, join, missing, namespaces};
use crate::error::{Error, Kind};

/// What is done in the container's namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub deed: Deed,
    /// For `setns` before the clone, and after it.
    pub before: i32,
    pub inside: i32,
    pub rootfs: Rootfs,
}

/// Whether they come or go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Add(Vec<Mount>),
    /// By their places, the last first.
    Remove(Vec<PathBuf>),
}

/// `spec` is the configuration with which the container was created.
pub fn add(spec: &Spec, mounts: Vec<SpecMount>, facts: &Facts, at: (&str, &Path)) -> Result<Change, Error> {
    let mut with = spec.clone();
    with.set_mounts(Some(mounts));
    let (options, namespaces) = around(spec, facts, at)?;
    let rootfs = rootfs::plan(spec, &options, &namespaces)?;
    let view = View { namespaces: &namespaces, facts, rootfs: &rootfs.path, options: &options };
    let mounts = mounts::plan(&with, &view)?;
    for mount in &mounts {
        check(&mount.destination)?;
        if let What::Cgroup(_) | What::Change = mount.what {
            let text = format!(
                "mount on {}: only new file systems and binds can be added",
                mount.destination.display()
            );
            return Err(Error::new(Kind::Unsupported, text));
        }
    }
    change(spec, Deed::Add(mounts), rootfs, facts)
}

/// Only the destinations count.
pub fn remove(spec: &Spec, mounts: &[SpecMount], facts: &Facts, at: (&str, &Path)) -> Result<Change, Error> {
    let (options, namespaces) = around(spec, facts, at)?;
    let rootfs = rootfs::plan(spec, &options, &namespaces)?;
    let places = mounts.iter().rev().map(|mount| mounts::place(mount.destination(), &rootfs.path));
    let places: Vec<PathBuf> = places.collect();
    places.iter().try_for_each(|place| check(place))?;
    change(spec, Deed::Remove(places), rootfs, facts)
}

fn around(
    spec: &Spec,
    facts: &Facts,
    (id, bundle): (&str, &Path),
) -> Result<(Options, namespaces::Namespaces), Error> {
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let options = Options {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        pivot: Pivot::PivotRoot,
        keyring: Keyring::Inherit,
        preserve_fds: 0,
        cgroups: cgroup::Manager::Cgroupfs,
        rootless: None,
    };
    Ok((options, namespaces::plan(linux, facts)?))
}

fn change(spec: &Spec, deed: Deed, rootfs: Rootfs, facts: &Facts) -> Result<Change, Error> {
    let (before, inside) = join::flags(spec, facts);
    match inside & libc::CLONE_NEWNS {
        0 => Err(Error::new(
            Kind::Unsupported,
            "change mounts: the container has no mount namespace of its own",
        )),
        _ => Ok(Change { deed, before, inside, rootfs }),
    }
}

fn check(place: &Path) -> Result<(), Error> {
    match place == Path::new("/") {
        true => {
            Err(Error::new(Kind::Invalid, "the root of a running container cannot be mounted or unmounted"))
        }
        false => Ok(()),
    }
}
