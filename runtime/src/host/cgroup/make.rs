//! Makes the directories of a plan, with their limits.

use std::cell::Cell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::device_filter::Directory;
use super::{Later, Made, delegate, device_filter, dir, file, freeze, limit, procs, record, systemd};
use crate::error::{Error, Kind};
use crate::plan::Need;
use crate::plan::cgroup::{Cgroup, Place, Version};
use crate::state;

/// Refuses directories that others use, before anything is written down: what is recorded will be killed and removed.
pub fn look(plan: &Cgroup) -> Result<(), Error> {
    for place in &plan.places {
        let dir = place.dir();
        if dir.exists() && (plan.scope.is_some() || refuse_foreign(&dir).is_ok()) {
            refuse_in_use(place)?;
        }
    }
    Ok(())
}

/// Directories first, limits before anybody is inside: nothing ever runs without them.
pub fn make(plan: &Cgroup) -> Result<Made, Error> {
    if let Some(scope) = &plan.scope {
        let later = Later { plan: plan.clone(), scope: scope.clone(), asked: Cell::new(false) };
        return Ok(Made {
            record: record(plan),
            into: None,
            created: Vec::new(),
            later: Some(later),
            filter: None,
        });
    }
    let mut made =
        Made { record: state::Cgroup::default(), into: None, created: Vec::new(), later: None, filter: None };
    let result = fill(plan, &mut made);
    match result {
        Ok(()) => Ok(made),
        Err(error) => {
            made.undo();
            Err(error)
        }
    }
}

/// A scope with this process in it; the process waits, so that it never runs without its limits.
pub(super) fn around(later: &Later, pid: i32) -> Result<(), Error> {
    let plan = &later.plan;
    systemd::start(&later.scope, pid, &later.asked)?;
    let record = record(plan);
    for place in &plan.places {
        match place.version {
            Version::V2 => {
                check_place(place, pid)?;
                refuse_frozen(place)?;
                enable_controllers(place);
            }
            // systemd does not look after every hierarchy.
            Version::V1 => {
                directory(place, &mut Vec::new())?;
                file::write(&place.dir(), "cgroup.procs", &pid.to_string())?;
            }
        }
    }
    limit(&plan.settings, &record)?;
    device_filter::apply(&plan.devices, &record, Directory::Known).map(drop)?;
    delegate::give(plan, &record)
}

/// What is recorded must be where the container is: it is what will be killed and removed.
fn check_place(place: &Place, pid: i32) -> Result<(), Error> {
    let text = file::read(Path::new("/proc"), &format!("{pid}/cgroup"))?;
    let found = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    match Path::new(found) == place.path {
        true => Ok(()),
        false => {
            let text = format!("make the scope: it is at /{found}, expected at /{}", place.path.display());
            Err(Error::new(Kind::System, text))
        }
    }
}

fn fill(plan: &Cgroup, made: &mut Made) -> Result<(), Error> {
    let mut is_new = false;
    for place in &plan.places {
        match directory(place, &mut made.created) {
            Ok(()) => {}
            Err(error) if need(plan, place) == Need::BestEffort && is_refusal(&error) => continue,
            Err(error) => return Err(refused(error)),
        }
        if place.version == Version::V2 {
            made.into = Some(handle(&place.dir())?);
            is_new = made.created.last().is_some_and(|last| *last == place.dir());
        }
        made.record.dirs.push(dir(place));
    }
    if made.record.dirs.is_empty() {
        return Ok(());
    }
    made.record.driver = state::Driver::Cgroupfs;
    limit(&plan.settings, &made.record)?;
    let directory = match &made.into {
        Some(cgroup) if is_new => Directory::New(cgroup),
        _ => Directory::Known,
    };
    made.filter = device_filter::apply(&plan.devices, &made.record, directory)?;
    delegate::give(plan, &made.record)
}

fn need(plan: &Cgroup, place: &Place) -> Need {
    match (plan.need, place.version) {
        (Need::Required, Version::V2) => plan.unified,
        (need, _) => need,
    }
}

/// Not ours to make: a caller without delegation, or a tree that is mounted read-only.
fn is_refusal(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// A user learns what else there is; root knows why the kernel refuses.
fn refused(error: Error) -> Error {
    match error.errno() {
        Some(libc::EACCES) => error.hint(
            // runc's words, for which people search.
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups; --systemd-cgroup has systemd make one",
        ),
        _ => error,
    }
}

/// Names the directory for the clone.
pub(super) fn handle(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path);
    opened.map_err(|source| Error::system(format!("open cgroup {}", path.display()), source))
}

fn directory(place: &Place, created: &mut Vec<PathBuf>) -> Result<(), Error> {
    let path = place.dir();
    match make_dir(&path) {
        Ok(true) => created.push(path.clone()),
        Ok(false) => refuse_foreign(&path).and_then(|()| refuse_in_use(place))?,
        Err(error) if error.errno() == Some(libc::ENOENT) => {
            for ancestor in ancestors(place) {
                make_dir(&ancestor)?;
                prepare(place, &ancestor);
            }
            make_dir(&path)?;
            created.push(path.clone());
        }
        Err(error) => return Err(error),
    }
    if created.last() == Some(&path) && !is_beside_caller(place) {
        refuse_frozen(place)?;
    }
    prepare(place, &path);
    enable_controllers(place);
    Ok(())
}

/// Nothing above it is frozen then: the caller runs.
fn is_beside_caller(place: &Place) -> bool {
    place.path.parent().is_none_or(|parent| place.own.starts_with(parent))
}

/// From the mount down to the parent, the mount itself left out.
fn ancestors(place: &Place) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = place.path.ancestors().skip(1).map(|path| place.mount.join(path)).collect();
    all.pop();
    all.reverse();
    all
}

/// Whether it is new.
fn make_dir(path: &Path) -> Result<bool, Error> {
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(Error::system(format!("create cgroup {}", path.display()), source)),
    }
}

/// Somebody else's of the same name is as good as a tree where none can be made.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let procs = path.join("cgroup.procs");
    match faccessat(AT_FDCWD, &procs, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
        Err(errno @ (Errno::EACCES | Errno::EPERM | Errno::EROFS)) => {
            Err(Error::system(format!("create cgroup {}", path.display()), errno))
        }
        _ => Ok(()),
    }
}

/// One with processes would share its limits and its end with them.
fn refuse_in_use(place: &Place) -> Result<(), Error> {
    let count = procs(&alone(place))?.len();
    match count {
        0 => refuse_frozen(place),
        count => {
            let text = format!("container's cgroup is not empty: {count} process(es) found");
            Err(Error::new(Kind::Invalid, text).hint(place.dir().display().to_string()))
        }
    }
}

/// Joining a frozen cgroup, or one below a frozen one, would hang: on v1 unkillably.
fn refuse_frozen(place: &Place) -> Result<(), Error> {
    match freeze::stops_all(&alone(place))? {
        true => {
            let text = "container's cgroup unexpectedly frozen";
            Err(Error::new(Kind::Invalid, text).hint(place.dir().display().to_string()))
        }
        false => Ok(()),
    }
}

fn alone(place: &Place) -> state::Cgroup {
    state::Cgroup { driver: state::Driver::Cgroupfs, dirs: vec![dir(place)] }
}

/// A new cpuset of v1 has neither processors nor memory, and nothing could enter it; a parent that somebody else made may
/// have none either.
fn prepare(place: &Place, path: &Path) {
    if !place.has("cpuset") || path == place.mount {
        return;
    }
    let Some(parent) = path.parent() else { return };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if !file::read(path, name).is_ok_and(|own| own.is_empty()) {
            continue;
        }
        if file::read(parent, name).is_ok_and(|above| above.is_empty()) {
            prepare(place, parent);
        }
        // Where this fails, entering fails and says why.
        drop(file::read(parent, name).and_then(|above| file::write(path, name, &above)));
    }
}

/// On v2 a controller exists below only where each directory above passes it on. One that cannot be passed on (a directory
/// with processes in it) is missed when a limit needs it, and not before.
fn enable_controllers(place: &Place) {
    if place.version != Version::V2 {
        return;
    }
    let dir = place.dir();
    let wanted = file::read(&place.mount, "cgroup.controllers").unwrap_or_default();
    if wanted.is_empty() {
        return;
    }
    // Not the usual ones alone: systemd passes on those that it uses, and neither hugetlb nor rdma nor misc.
    let there = file::read(&dir, "cgroup.controllers").unwrap_or_default();
    let is_on = |name: &str| there.split(' ').any(|on| on == name);
    let missing: Vec<&str> = wanted.split(' ').filter(|name| !name.is_empty() && !is_on(name)).collect();
    if missing.is_empty() {
        return;
    }
    let mut levels = vec![place.mount.clone()];
    levels.extend(ancestors(place));
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    for level in levels {
        match file::write(&level, "cgroup.subtree_control", &all.join(" ")) {
            Ok(()) => {}
            Err(error) if is_refusal(&error) => {}
            Err(_) => {
                for one in &all {
                    drop(file::write(&level, "cgroup.subtree_control", one));
                }
            }
        }
    }
}
