//! What the host opens for init: sources that a mapped root could not reach, and the user namespaces of idmapped mounts.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::spawn::{Birth, spawn};
use super::{ids, undo};
use crate::error::Error;
use crate::init::sources::{self, Sources};
use crate::plan::facts::Setgroups;
use crate::plan::ids::{Ids, Map, Mapping, Writer};
use crate::plan::mounts::{Idmap, Mount, Translation, What};
use crate::plan::{Plan, Side};

/// All that has to be open before the clone.
pub fn open(plan: &Plan, proc: &OwnedFd) -> Result<Sources, Error> {
    let mut opened = Sources { idmaps: idmaps(&plan.mounts, proc)?, ..Sources::default() };
    if plan.sources == Side::Host {
        sources::open(plan, &mut opened)?;
    }
    Ok(opened)
}

/// For mounts that a running container gets.
pub fn of_mounts(mounts: &[Mount], proc: &OwnedFd) -> Result<Sources, Error> {
    let mut opened = Sources { idmaps: idmaps(mounts, proc)?, ..Sources::default() };
    sources::open_binds(mounts, &mut opened)?;
    Ok(opened)
}

fn idmaps(mounts: &[Mount], proc: &OwnedFd) -> Result<Vec<Option<OwnedFd>>, Error> {
    let wanted = |what: &What| match what {
        What::Bind(bind) => bind.idmap.clone(),
        _ => None,
    };
    let mut opened: Vec<Option<OwnedFd>> = Vec::new();
    let mut known: Vec<(Idmap, usize)> = Vec::new();
    for (at, mount) in mounts.iter().enumerate() {
        let Some(idmap) = wanted(&mount.what) else {
            opened.push(None);
            continue;
        };
        let same = known.iter().find(|(earlier, _)| earlier.by == idmap.by);
        let earlier = same.and_then(|(_, at)| opened.get(*at)).and_then(Option::as_ref);
        let namespace = match earlier {
            Some(namespace) => {
                namespace.try_clone().map_err(|source| Error::system("duplicate a descriptor", source))?
            }
            None => match &idmap.by {
                Translation::Mappings { users, groups } => user_namespace((users, groups), proc)?,
                Translation::Joined(path) => File::open(path)
                    .map_err(|source| {
                        Error::system(format!("open the namespace {}", path.display()), source)
                    })?
                    .into(),
            },
        };
        opened.push(Some(namespace));
        known.push((idmap, at));
    }
    Ok(opened)
}

/// A namespace is only made with a process in it, which does nothing and is gone when the namespace is open.
fn user_namespace((users, groups): (&[Mapping], &[Mapping]), proc: &OwnedFd) -> Result<OwnedFd, Error> {
    let birth = Birth { flags: libc::CLONE_NEWUSER, ..Birth::default() };
    let idle = spawn(&birth, |_| {
        loop {
            nix::unistd::pause();
        }
    })?;
    let map = |lines: &[Mapping]| Map { lines: lines.to_vec(), writer: Writer::Direct };
    let ids = Ids { users: map(users), groups: map(groups), setgroups: Setgroups::Allow };
    let opened = ids::write(proc, idle.pid, &ids).and_then(|()| {
        let path = Path::new(&idle.pid.to_string()).join("ns/user");
        openat(proc, &path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Error::system("open the user namespace of an idmapped mount", errno))
    });
    undo::end(&idle);
    opened
}
