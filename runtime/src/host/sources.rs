//! What the host opens for init: sources that a mapped root could not reach, and the user namespaces of idmapped mounts.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::spawn::{Birth, spawn};
use super::{ids, undo};
use crate::error::{Error, Kind};
use crate::init::sources::{self, Sources};
use crate::plan::facts::Setgroups;
use crate::plan::ids::{Ids, Map, Mapping, Writer};
use crate::plan::mounts::{Idmap, Mount, Source, Translation, What};
use crate::plan::{Plan, Side};

/// All that has to be open before the clone.
pub fn open(plan: &Plan, proc: &OwnedFd) -> Result<Sources, Error> {
    let mut opened = Sources { idmaps: idmaps(&plan.mounts, proc)?, ..Sources::default() };
    if plan.sources == Side::Host {
        match sources::open(plan, &mut opened) {
            // Without open_tree nothing can be handed over: init opens what it can reach, in the old way.
            Err(error) if error.errno() == Some(libc::ENOSYS) => {
                opened = Sources { idmaps: opened.idmaps, ..Sources::default() };
            }
            other => other?,
        }
    }
    Ok(opened)
}

/// The host's own copies for mounts whose ids init may not map; by the plan's indexes, none where there is no such mount.
pub fn kept(plan: &Plan, opened: &Sources) -> Result<Vec<Option<OwnedFd>>, Error> {
    let is_inside = |mount: &Mount| match &mount.what {
        What::Bind(bind) => bind.idmap.is_some() && matches!(bind.source, Source::Root(_)),
        _ => false,
    };
    if plan.sources != Side::Host || !plan.mounts.iter().any(is_inside) {
        return Ok(Vec::new());
    }
    let copies = opened.idmaps.iter().map(|users| users.as_ref().map(OwnedFd::try_clone).transpose());
    copies.collect::<std::io::Result<_>>().map_err(|source| Error::system("duplicate a descriptor", source))
}

/// Maps the ids of a mount that init has lent.
pub fn translate(plan: &Plan, kept: &[Option<OwnedFd>], (at, mount): (u32, &OwnedFd)) -> Result<(), Error> {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    match (plan.mounts.get(at).map(|mount| &mount.what), kept.get(at)) {
        (Some(What::Bind(bind)), Some(Some(users))) => sources::translate(mount, bind, Some(users)),
        _ => Err(Error::new(Kind::System, format!("map the ids of mount {at}: it has no mappings"))),
    }
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
