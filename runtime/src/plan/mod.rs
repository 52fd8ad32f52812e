//! What will be done, decided before anything is done: (Spec, Facts, Options) -> `Plan`.
//!
//! Every default of the specification gets its meaning here, once. What follows carries the plan out and decides nothing.
//!
//! Invariant: nothing in this room makes a system call, reads a file, the environment or the clock; the same three
//! inputs always give the same plan.

pub mod caps;
pub mod cgroup;
pub mod criu;
pub mod devices;
pub mod facts;
pub mod hooks;
pub mod ids;
pub mod join;
pub mod live;
pub mod masks;
pub mod memory;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod process;
pub mod rdt;
pub mod rootfs;
pub mod sched;
pub mod seccomp;
pub mod sysctl;
pub mod text;

use std::path::PathBuf;

use oci_spec::runtime::Spec;

use crate::error::{Error, Kind};
use facts::Facts;

/// What the command line asked for, beside the bundle.
#[derive(Debug, Clone)]
pub struct Options {
    /// The container's name, already checked.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// `--no-pivot`.
    pub pivot: rootfs::Pivot,
    /// `--no-new-keyring`.
    pub keyring: Keyring,
    /// `--preserve-fds`: descriptors 3..3+n go to the container.
    pub preserve_fds: u32,
    /// `--systemd-cgroup` or `--cgroup-manager`.
    pub cgroups: cgroup::Manager,
    /// `--rootless`: whether a refusal to make cgroups is put up with; None leaves it to who calls.
    pub rootless: Option<Need>,
}

/// The session keyring of the container's first process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyring {
    /// A fresh one of this name, so that keys of the host's session stay out of reach.
    Own(String),
    /// The caller's.
    Inherit,
}

/// What to do when a step cannot be taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Fail.
    Required,
    /// Go on with a warning that names what is missing.
    BestEffort,
}

/// Which side of the clone does a step: the host's privileges and view, or init's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before or beside the clone, by the runtime itself.
    Host,
    /// In the new namespaces, by init.
    Init,
}

/// Everything that `create` and `run` do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub namespaces: namespaces::Namespaces,
    pub ids: Option<ids::Ids>,
    pub rootfs: rootfs::Rootfs,
    pub mounts: Vec<mounts::Mount>,
    pub devices: devices::Devices,
    pub masks: masks::Masks,
    pub net_devices: Vec<net_devices::NetDevice>,
    pub cgroup: cgroup::Cgroup,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctls: Vec<sysctl::Sysctl>,
    pub rdt: Option<rdt::Rdt>,
    pub keyring: Keyring,
    pub process: process::Process,
    pub seccomp: Option<seccomp::Program>,
    pub hooks: hooks::Hooks,
    /// Who opens the root file system and the sources of bind mounts.
    pub sources: Side,
    /// One line each: what was asked for and will not be done, as the specification allows.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether init waits, in its namespaces and before any mount, for the host to put network devices there.
    pub fn gets_net_devices(&self) -> bool {
        !self.net_devices.is_empty()
    }

    /// Whether init waits, when everything is mounted, for the hooks that the host runs.
    pub fn waits_for_hooks(&self) -> bool {
        !(self.hooks.prestart.is_empty() && self.hooks.create_runtime.is_empty())
    }

    /// Whether hooks run that may look for the container's mounts below the root's path, from within its mount namespace.
    pub fn shows_root_to_hooks(&self) -> bool {
        self.waits_for_hooks() || !self.hooks.create_container.is_empty()
    }
}

/// Turns a checked configuration into a plan for this host and this caller.
pub fn plan(spec: &Spec, facts: &Facts, options: &Options) -> Result<Plan, Error> {
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let namespaces = namespaces::plan(linux, facts)?;
    let ids = ids::plan(linux, &namespaces, facts)?;
    let rootfs = rootfs::plan(spec, options, &namespaces)?;
    rootfs::check_kernel(spec, facts.kernel)?;
    let spec_process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let mut warnings = Vec::new();
    let around = join::around(&namespaces, ids.as_ref(), facts);
    let around = process::Around { preserve_fds: options.preserve_fds, ..around };
    let mut process = process::plan(spec_process, &around, &mut warnings)?;
    process.personality = sched::personality(linux.personality().as_ref(), &mut warnings);
    process.memory_policy = memory::plan(linux.memory_policy().as_ref())?;
    let view = mounts::View { namespaces: &namespaces, facts, rootfs: &rootfs.path, options };
    let mounts = mounts::plan(spec, &view)?;
    let mut plan = Plan {
        devices: devices::plan(linux, &mounts, &namespaces, facts)?,
        masks: masks::plan(linux)?,
        net_devices: net_devices::plan(linux, &namespaces, facts)?,
        cgroup: cgroup::plan(spec, facts, options, &mut warnings)?,
        rdt: rdt::plan(linux.intel_rdt().as_ref(), &options.id)?,
        hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
        sysctls: sysctl::plan(linux, &namespaces)?,
        keyring: options.keyring.clone(),
        seccomp: seccomp::plan(linux.seccomp().as_ref())?,
        hooks: hooks::plan(spec)?,
        sources: sources_side(&namespaces, facts),
        namespaces,
        ids,
        rootfs,
        mounts,
        process,
        warnings,
    };
    // Both look for the network as soon as they are told of init.
    if !(plan.gets_net_devices() || plan.waits_for_hooks()) {
        plan.namespaces.part_network(&facts.caller);
    }
    Ok(plan)
}

/// A mapped root cannot always reach what the caller can; a privileged caller opens it and hands over descriptors.
fn sources_side(namespaces: &namespaces::Namespaces, facts: &Facts) -> Side {
    match namespaces.user_is_foreign() && facts.caller.may(caps::SYS_ADMIN) {
        true => Side::Host,
        false => Side::Init,
    }
}

fn missing(field: &str) -> Error {
    Error::new(Kind::Invalid, format!("config.json: {field} is missing"))
}

/// The plan as text, one member a line.
pub fn show(plan: &Plan) -> String {
    format!("{plan:#?}")
}
