//! Makes a container from images.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::dump::read_descriptors;
use super::message::{self, Deed, Handles, Notify};
use super::service::{Orphan, Service, Setting, Streams};
use super::{EXTERNAL, LEAST, LSM, TIME, Version, mountpoints, place, quote_on_error};
use crate::error::{Error, Kind};
use crate::host::spawn::{Birth, Placed, Spawned};
use crate::host::{cgroup, console, undo};
use crate::init::hooks::{self, Moment, State, Unset};
use crate::plan::Plan;
use crate::plan::criu::Options;
use crate::state::{Clocks, Entry};
use crate::sys::pidfd;

/// What is to be restored, and where from.
pub struct Restore<'a> {
    pub plan: &'a Plan,
    pub entry: &'a Entry,
    pub options: &'a Options,
    pub images: &'a Path,
    /// For CRIU's logs; beside the images where it is not given.
    pub work: Option<&'a Path>,
    pub state: State,
    /// The container has a terminal; where its master goes, None keeps it.
    pub terminal: Option<Option<&'a Path>>,
    pub ignored_signals: u64,
    /// Puts the container on record, before any of its processes goes on.
    pub commit: &'a dyn Fn(&Spawned, &cgroup::Made, Clocks) -> Result<(), Error>,
    pub warn: &'a dyn Fn(&str),
    pub debug: &'a dyn Fn(&str),
}

/// A container that runs again.
#[derive(Debug)]
pub struct Restored {
    pub init: Spawned,
    pub cgroup: cgroup::Made,
    pub terminal: Option<OwnedFd>,
}

const LOG: &str = "restore.log";
/// In the container's directory: where its root is mounted, for CRIU alone.
const ROOT: &str = "criu-root";

/// When anything fails, nothing is left but the entry.
pub fn restore(order: &Restore<'_>) -> Result<Restored, Error> {
    let version = Version::ask(order.ignored_signals)?;
    version.at_least(LEAST)?;
    (order.debug)(&format!("using criu {}", version.0));
    check_lsm(order.options, version)?;
    // Before anything is made; CRIU gets its own.
    place::open(order.images)?;
    order.work.map(place::make).transpose()?;
    let namespaces = join(order.plan, version)?;
    let root = order.entry.path().join(ROOT);
    place::make(&root)?;
    let handles = Handles {
        log_file: LOG,
        root: root.clone(),
        inherit: inherit(order, &namespaces)?,
        join: namespaces.joined.clone(),
        mounts: place::plain(&order.options.externals),
        ..Handles::default()
    };
    let cgroup = cgroup::make(&order.plan.cgroup)?;
    let restored = with_cgroup(order, (&cgroup, version), (handles, &namespaces));
    let restored = quote_on_error(restored, &order.work.unwrap_or(order.images).join(LOG), order.warn);
    match restored {
        Ok((init, terminal)) => {
            // Mounted in CRIU's namespace only, which is gone.
            drop(std::fs::remove_dir(&root));
            Ok(Restored { init, cgroup, terminal })
        }
        Err(error) => {
            drop(cgroup::kill_all(&cgroup.record()));
            // The restored processes would have been children of ours; unless they are waited for, their cgroup is in use.
            while let Ok(Some(_)) = pidfd::reap_any() {}
            cgroup.undo();
            Err(error)
        }
    }
}

fn check_lsm(options: &Options, version: Version) -> Result<(), Error> {
    let asked = [
        ("--lsm-profile", options.lsm_profile.is_some()),
        ("--lsm-mount-context", options.lsm_mount_context.is_some()),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((flag, _)) if version < LSM => {
            Err(Error::new(Kind::Unsupported, format!("{flag} requires at least CRIU 3.16")))
        }
        _ => Ok(()),
    }
}

/// Namespaces that are not restored.
struct Joins {
    /// With the names that they have in the images.
    external: Vec<(String, File)>,
    joined: Vec<(&'static str, PathBuf)>,
}

fn join(plan: &Plan, version: Version) -> Result<Joins, Error> {
    let mut joins = Joins { external: Vec::new(), joined: Vec::new() };
    let namespaces = &plan.namespaces;
    for join in namespaces.join_before.iter().chain(&namespaces.join_inside) {
        let external = EXTERNAL.iter().find(|(flag, ..)| *flag == join.flag);
        let kind = match join.flag {
            libc::CLONE_NEWNS => "mnt",
            libc::CLONE_NEWUTS => "uts",
            libc::CLONE_NEWIPC => "ipc",
            libc::CLONE_NEWUSER => "user",
            libc::CLONE_NEWTIME => "time",
            _ if external.is_some() => "",
            _ => {
                let text = "restore a container that joins a cgroup namespace: CRIU cannot";
                return Err(Error::new(Kind::Unsupported, text));
            }
        };
        match external {
            None => joins.joined.push((kind, join.path.clone())),
            Some((_, _, key, least)) => {
                version.at_least(*least)?;
                let opened = open(&join.path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
                let opened = opened.map_err(|errno| {
                    Error::system(format!("open the namespace {}", join.path.display()), errno)
                })?;
                joins.external.push(((*key).to_owned(), File::from(opened)));
            }
        }
    }
    Ok(joins)
}

/// Pipes that were the standard streams are ours now.
fn inherit(order: &Restore<'_>, joins: &Joins) -> Result<Vec<(String, i32)>, Error> {
    let streams = read_descriptors(order.images)?;
    let pipes = streams.into_iter().zip(0..3).filter(|(name, _)| name.starts_with("pipe:"));
    let namespaces = joins.external.iter().map(|(key, file)| (key.clone(), file.as_raw_fd()));
    Ok(pipes.chain(namespaces).collect())
}

type Parts = (Spawned, Option<OwnedFd>);

fn with_cgroup(
    order: &Restore<'_>,
    (cgroup, version): (&cgroup::Made, Version),
    (mut handles, joins): (Handles, &Joins),
) -> Result<Parts, Error> {
    let birth = Birth { flags: libc::CLONE_NEWNS, cgroup: cgroup.clone_into(), ..Birth::default() };
    let setting = Setting {
        birth,
        streams: if order.terminal.is_some() { Streams::Null } else { Streams::Ours },
        keep: joins.external.iter().map(|(_, file)| file.as_fd()).collect(),
        ignored_signals: order.ignored_signals,
        orphan: Orphan::Dies,
    };
    let (mounts, rootfs, at) = (&order.plan.mounts, &order.plan.rootfs.path, handles.root.clone());
    let service = Service::start(&setting, || mountpoints::prepare(mounts, rootfs, &at))?;
    let attached = match service.child.placed {
        Placed::InCgroup | Placed::BesideInit => cgroup.attach(service.child.pid),
        Placed::Nowhere => cgroup.attach_everywhere(service.child.pid),
    };
    let seen = attached.and_then(|()| {
        handles.cgroup_roots = cgroup_roots(service.child.pid)?;
        let images = place::open_in_view(service.child.pid, order.images)?;
        let work = order.work.map(|work| place::open_in_view(service.child.pid, work)).transpose()?;
        handles.images = images.as_raw_fd();
        handles.work = work.as_ref().map(AsRawFd::as_raw_fd);
        Ok((images, work))
    });
    match seen {
        // The descriptors are open as long as CRIU may come to them.
        Ok(_seen) => talk(order, service, (cgroup, version), &handles),
        Err(error) => {
            undo::end(&service.child);
            Err(error)
        }
    }
}

/// Where CRIU is, and with it what it restores.
fn cgroup_roots(pid: i32) -> Result<Vec<(String, String)>, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let text =
        std::fs::read_to_string(&path).map_err(|source| Error::system(format!("read {path}"), source))?;
    let line = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), path.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

fn talk(
    order: &Restore<'_>,
    service: Service,
    (cgroup, version): (&cgroup::Made, Version),
    handles: &Handles,
) -> Result<Parts, Error> {
    let (mut init, mut terminal) = (None, None);
    let options = message::options(order.options, handles);
    let asked = service.ask((Deed::Restore, Some(&options)), &mut |notify: &Notify, descriptor| {
        (order.debug)(&format!("criu: {}", notify.script));
        match (notify.script.as_str(), descriptor) {
            ("setup-namespaces", _) => run_hooks(order, notify.pid).map(|()| None),
            ("orphan-pts-master", Some(master)) => {
                terminal = take(order, master)?;
                Ok(None)
            }
            ("post-restore", _) => {
                let found = found(notify.pid)?;
                (order.commit)(&found, cgroup, clocks(order.plan, version, found.pid))?;
                // From now on `kill` finds it, and CRIU would wait for one that has ended for ever.
                let watched = found.pidfd.try_clone();
                init = Some(found);
                watched.map(Some).map_err(|source| Error::system("duplicate a descriptor", source))
            }
            _ => Ok(None),
        }
    });
    let ended = service.end();
    asked?;
    match (ended?, init) {
        (pidfd::Exit::Code(0), Some(init)) => Ok((init, terminal)),
        (exit, _) => Err(Error::new(Kind::System, format!("criu failed: exit status {}", exit.code()))),
    }
}

/// Nobody else waits for a child of ours: the number is its own still.
fn found(pid: i32) -> Result<Spawned, Error> {
    let pidfd = pidfd::open(pid).map_err(|source| Error::system("open the restored process", source))?;
    Ok(Spawned { pid, pidfd, placed: Placed::InCgroup })
}

/// CRIU sets the clocks on by a time namespace that the configuration need not know of; whoever joins must enter it too.
fn clocks(plan: &Plan, version: Version, init: i32) -> Clocks {
    let link = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/time")).ok();
    let differs = version >= TIME && link(&init.to_string()) != link("self");
    match differs && !plan.namespaces.has(libc::CLONE_NEWTIME) {
        true => Clocks::Restored,
        false => Clocks::AsConfigured,
    }
}

fn run_hooks(order: &Restore<'_>, pid: i32) -> Result<(), Error> {
    let all = &order.plan.hooks;
    for (hooks, name) in [(&all.prestart, "prestart"), (&all.create_runtime, "createRuntime")] {
        let state = &order.state;
        hooks::run(hooks, &Moment { name, status: "creating", pid, state, unset: Unset::Callers })?;
    }
    Ok(())
}

fn take(order: &Restore<'_>, master: OwnedFd) -> Result<Option<OwnedFd>, Error> {
    match order.terminal {
        Some(Some(socket)) => console::send(socket, "/dev/ptmx", &master).map(|()| None),
        Some(None) => console::adopt(&master).map(|()| Some(master)),
        // Some terminal of the container's own, whose holder was not dumped with it.
        None => Ok(None),
    }
}
