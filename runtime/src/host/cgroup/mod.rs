//! The container's cgroup: made with its limits, entered, frozen, emptied, removed.
//!
//! Invariant: a directory is removed only when this room made it or the record names it, and a process is never put
//! into a cgroup that was there before with processes of others in it, or frozen.

mod beside;
mod delegate;
mod destroy;
mod device_filter;
pub mod file;
mod freeze;
mod limit;
mod make;
pub mod oom;
mod procs;
pub mod stats;
mod systemd;
mod tree;

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::plan::cgroup::systemd::{Bus, Property, Scope};
use crate::plan::cgroup::{Cgroup, Manager, Place, Version};
use crate::state;

pub use beside::{Beside, beside, followed};
pub use destroy::{destroy, remove_if_empty};
pub use freeze::{freeze, is_frozen, stops_all, thaw};
pub use limit::{limit, refuse_in_use};
pub use make::{look, make};
pub use procs::{emptied_within, ended_within, kill_all, procs};
pub use systemd::socket as systemd_socket;

/// A cgroup that exists, or that systemd will make around the first process.
#[derive(Debug)]
pub struct Made {
    record: state::Cgroup,
    /// v2's directory, for the clone.
    into: Option<File>,
    /// What was made here, to be undone if creation fails: the innermost last.
    created: Vec<PathBuf>,
    /// What waits for a process.
    later: Option<Later>,
    /// The device program, in force; it goes with the others at the end of the process.
    filter: Option<OwnedFd>,
}

/// A scope is made with a process; limits without a property of systemd follow at once.
#[derive(Debug)]
struct Later {
    plan: Cgroup,
    scope: Scope,
    /// systemd has taken the request: a unit of that name is ours, and not one that was there before.
    asked: Cell<bool>,
}

impl Made {
    /// Where the clone can put the new process straight away; None where there is no v2 directory of the container.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.into.as_ref().map(AsFd::as_fd)
    }

    /// After a clone into `clone_into`: enters the hierarchies of v1, if there are any.
    pub fn attach(&self, pid: i32) -> Result<(), Error> {
        enter(self.record.dirs.iter().filter(|dir| dir.version == 1), pid)
    }

    /// After a clone that put the process nowhere: a kernel or a filter without clone3, or a scope of systemd's.
    pub fn attach_everywhere(&self, pid: i32) -> Result<(), Error> {
        match (&self.later, &self.record.driver) {
            (Some(later), _) => make::around(later, pid),
            (None, state::Driver::Systemd { unit, user: true }) => {
                systemd::attach(unit, &self.below(unit), Bus::User, pid)
            }
            _ => enter(self.record.dirs.iter(), pid),
        }
    }

    /// Where in the scope's part of the tree: `/` is the scope itself.
    fn below(&self, unit: &str) -> String {
        let path = self.record.dirs.iter().find(|dir| dir.version == 2).map(|dir| dir.path.as_path());
        let parts = path.into_iter().flat_map(Path::components).skip_while(|part| part.as_os_str() != unit);
        let below: PathBuf = std::iter::once(Component::RootDir).chain(parts.skip(1)).collect();
        below.to_string_lossy().into_owned()
    }

    /// For the state file.
    pub fn record(&self) -> state::Cgroup {
        self.record.clone()
    }

    /// Takes back what `make` made: creation has failed, and nobody is inside any more.
    pub fn undo(&self) {
        if let Some(later) = self.later.as_ref().filter(|later| later.asked.get()) {
            drop(systemd::stop(&later.scope.unit, later.scope.bus));
        }
        for dir in self.created.iter().rev() {
            // A directory in use is one that somebody else has begun to use.
            drop(destroy::remove_tree(dir));
        }
    }
}

fn enter<'a>(dirs: impl Iterator<Item = &'a state::CgroupDir>, pid: i32) -> Result<(), Error> {
    for dir in dirs {
        file::write(&dir.path, "cgroup.procs", &pid.to_string())?;
    }
    Ok(())
}

/// The cgroup of a container that exists, for another process of it.
pub fn open(record: &state::Cgroup) -> Result<Made, Error> {
    // From outside of the user's own tree only systemd may move processes into it.
    let by_systemd = matches!(record.driver, state::Driver::Systemd { user: true, .. });
    let v2 = record.dirs.iter().find(|dir| dir.version == 2 && !by_systemd);
    let into = v2.map(|dir| make::handle(&dir.path)).transpose()?;
    Ok(Made { record: record.clone(), into, created: Vec::new(), later: None, filter: None })
}

/// What will be there once the plan is carried out: for the intent record.
pub fn record(plan: &Cgroup) -> state::Cgroup {
    let driver = match (plan.manager, &plan.scope) {
        (Manager::Disabled, _) => return state::Cgroup::default(),
        (_, Some(scope)) => state::Driver::Systemd { unit: scope.unit.clone(), user: scope.bus == Bus::User },
        _ => state::Driver::Cgroupfs,
    };
    state::Cgroup { driver, dirs: plan.places.iter().map(dir).collect() }
}

/// Tells systemd of other limits; without it there is nobody to tell.
pub fn tell(record: &state::Cgroup, properties: &[Property]) -> Result<(), Error> {
    match &record.driver {
        state::Driver::Systemd { unit, user } => systemd::set(unit, bus(*user), properties),
        _ => Ok(()),
    }
}

fn bus(user: bool) -> Bus {
    if user { Bus::User } else { Bus::System }
}

fn dir(place: &Place) -> state::CgroupDir {
    state::CgroupDir {
        version: match place.version {
            Version::V1 => 1,
            Version::V2 => 2,
        },
        controllers: place.controllers.clone(),
        mount: place.mount.clone(),
        path: place.dir(),
    }
}
