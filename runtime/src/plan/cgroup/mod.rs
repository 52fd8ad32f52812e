//! Where the container's processes are counted and limited: directories, and every value that is written there.
//!
//! Invariant: every byte that will be written into a cgroup's files is in the plan; host only decides between files that exist.

pub mod bpf;
pub mod devices;
pub mod exceptions;
mod grants;
mod limits;
mod owner;
pub mod place;
pub mod property;
pub mod setting;
pub mod systemd;
mod v1;
mod v2;

use std::path::Path;

use oci_spec::runtime::{LinuxResources, Spec};

use super::facts::{Facts, Maker, has_limits};
use super::{Need, Options, caps};
use crate::error::Error;

pub use place::{Place, Version};
pub use setting::{How, Setting};

/// Who makes cgroups: `--systemd-cgroup`, `--cgroup-manager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Cgroupfs,
    Systemd,
    Disabled,
}

/// The container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    pub manager: Manager,
    /// With `Manager::Systemd`.
    pub scope: Option<systemd::Scope>,
    /// The directories, v2 first; none when disabled.
    pub places: Vec<Place>,
    pub settings: Vec<Setting>,
    pub devices: devices::Devices,
    /// Whom v2's directory belongs to, if not to the caller.
    pub owner: Option<u32>,
    /// `BestEffort`: a caller who may not make cgroups and asked for no limit goes without.
    pub need: Need,
    /// The v2 directory of a hybrid host, where nothing is limited: a caller who got only v1's directories goes without.
    pub unified: Need,
}

/// For a new container.
pub fn plan(
    spec: &Spec,
    facts: &Facts,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Cgroup, Error> {
    let linux = spec.linux().as_ref();
    let mut resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let manager = manager(spec, facts, options.cgroups);
    let scope = match manager {
        Manager::Systemd => {
            systemd::ignore_weight_of_idle(&mut resources, warnings);
            systemd::fit(&mut resources);
            Some(systemd::plan(spec, &resources, (&options.id, facts))?)
        }
        _ => None,
    };
    let places = match (manager, &scope) {
        (Manager::Disabled, _) => Vec::new(),
        (_, Some(scope)) => place::plan(
            Some(&Path::new("/").join(systemd::path(scope, facts)?)),
            &options.id,
            &facts.cgroups,
        )?,
        _ => {
            place::plan(linux.and_then(|linux| linux.cgroups_path().as_deref()), &options.id, &facts.cgroups)?
        }
    };
    let settings = match manager {
        Manager::Disabled => Vec::new(),
        _ => settings(&resources, &places)?,
    };
    let privileged = facts.caller.may_on_host(caps::SYS_ADMIN);
    let need = match (options.rootless, privileged || !settings.is_empty()) {
        (Some(asked), _) => asked,
        (None, true) => Need::Required,
        (None, false) => Need::BestEffort,
    };
    let enforce = if privileged { Need::Required } else { Need::BestEffort };
    let devices = devices::plan(resources.devices().as_deref().unwrap_or_default(), enforce)?;
    // Root of a user namespace gives to another id of it: podman's containers with ids of their own.
    let owner = facts.caller.may(caps::CHOWN).then(|| owner::owner(spec, facts.caller.uid)).flatten();
    let has_v1 = places.iter().any(|place| place.version == Version::V1);
    let unified = if has_v1 && !privileged { Need::BestEffort } else { Need::Required };
    Ok(Cgroup { manager, scope, places, settings, devices, owner, need, unified })
}

/// A caller who may make no cgroup where he stands has his systemd make one, for limits that would be refused else. A place that the
/// configuration names is kept to, and without limits a container goes without, at a fraction of the cost.
fn manager(spec: &Spec, facts: &Facts, asked: Manager) -> Manager {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let names_none = path.is_none_or(|path| path.as_os_str().is_empty());
    match (asked, facts.cgroups.maker) {
        (Manager::Cgroupfs, Maker::Systemd) if names_none && has_limits(spec) => Manager::Systemd,
        _ => asked,
    }
}

/// Every value for these directories; `update` uses it alone.
pub fn settings(resources: &LinuxResources, places: &[Place]) -> Result<Vec<Setting>, Error> {
    match places.iter().any(|place| place.version == Version::V1) {
        true => v1::settings(resources, places),
        false => v2::settings(resources),
    }
}
