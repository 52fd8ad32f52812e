//! `RUN --mount`: made ready on the builder's side, for as long as the process runs.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat};
use nix::unistd::{Gid, Uid, fchownat};

use super::agent::Agent;
use super::memory::Memory;
use super::place::{Placing, Rules};
use super::{Hands, Secret};
use crate::bundle::{Extra, StubKind};
use crate::context::Tree;
use crate::error::{Error, Kind};
use crate::graph::{Access, Credential, From, Mount, MountKind, Sharing};
use crate::snapshot::{Draft, Scratch};
use crate::store::Digest;
use crate::sys::{overlay, root};

/// The mounts of one RUN; what they stand on goes when this is dropped.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) extras: Vec<(Extra, StubKind)>,
    /// Variables that a secret or an agent brings along.
    pub(super) env: Vec<String>,
    held: Vec<Held>,
}

/// Dropped from the last to the first: mounts before what they show.
enum Held {
    Mount(PathBuf),
    Scratch(#[expect(dead_code, reason = "held for its Drop")] Scratch),
    Memory(#[expect(dead_code, reason = "held for its Drop")] Memory),
    Agent(#[expect(dead_code, reason = "held for its Drop")] Agent),
    Lock(#[expect(dead_code, reason = "held for its Drop")] File),
    Tree(#[expect(dead_code, reason = "held for its Drop")] std::sync::Arc<Tree>),
}

impl Drop for Mounts {
    fn drop(&mut self) {
        while let Some(held) = self.held.pop() {
            if let Held::Mount(place) = held {
                // In our own mount namespace: at the latest it goes with it.
                drop(overlay::detach(&place.to_string_lossy()));
            }
        }
    }
}

/// Makes the mounts of a RUN ready, in the order of its flags.
pub(super) fn prepare(mounts: &[Mount], draft: &Draft, hands: &Hands<'_>) -> Result<Mounts, Error> {
    let mut ready = Mounts::default();
    for (number, mount) in mounts.iter().enumerate() {
        let place = draft.workspace().join(format!("mount-{number}"));
        let target = &mount.target;
        match &mount.kind {
            MountKind::Bind { from, source, access } => {
                ready.bind((from, source, *access), (target, &place), hands)?
            }
            MountKind::Cache { .. } => ready.cache(mount, hands)?,
            MountKind::Tmpfs { size } => {
                ready
                    .extras
                    .push((Extra::Tmpfs { target: target.clone(), size: *size }, StubKind::Directory));
            }
            MountKind::Secret(credential) => ready.secret(credential, (target, &place), hands)?,
            MountKind::Ssh(credential) => ready.agent(credential, (target, &place), hands)?,
        }
    }
    Ok(ready)
}

impl Mounts {
    fn bind(
        &mut self,
        (from, source, access): (&From, &str, Access),
        (target, place): (&str, &Path),
        hands: &Hands<'_>,
    ) -> Result<(), Error> {
        let doing = |error| Error::system(format!("mount {source} on {target}"), error);
        let tree = (hands.tree)(from)?;
        let missing = || std::io::Error::from_raw_os_error(libc::ENOENT);
        let at = tree.root().ok_or_else(|| doing(missing()))?;
        let object = root::open(at, &Path::new("/").join(source), OFlag::O_PATH).map_err(doing)?;
        let kind = kind_of(&object).map_err(doing)?;
        let writable = access == Access::ReadWrite;
        if kind == StubKind::Directory && (writable || tree.hides_anything()) {
            // Writes go nowhere, and what an ignore file excludes is not there.
            let scratch = Scratch::over(hands.store, &object, place)?;
            tree.erase_hidden(Path::new(source), scratch.root())?;
            self.held.push(Held::Tree(tree));
            self.held.push(Held::Scratch(scratch));
        } else {
            show(&object, kind, place).map_err(doing)?;
            self.held.push(Held::Tree(tree));
            self.held.push(Held::Mount(place.to_owned()));
        }
        let access = if kind == StubKind::Directory { access } else { Access::ReadOnly };
        self.push((place, target), access, kind);
        Ok(())
    }

    fn push(&mut self, (source, target): (&Path, &str), access: Access, kind: StubKind) {
        let writable = access == Access::ReadWrite;
        let extra = Extra::Bind { source: source.to_owned(), target: target.to_owned(), writable };
        self.extras.push((extra, kind));
    }

    fn cache(&mut self, mount: &Mount, hands: &Hands<'_>) -> Result<(), Error> {
        let MountKind::Cache { id, from, source, access, sharing, mode, uid, gid } = &mount.kind else {
            return Ok(());
        };
        let doing = |error| Error::system(format!("make the cache {id}"), error);
        let (directory, lock) = reserve(hands, id, *sharing).map_err(doing)?;
        self.held.extend(lock.map(Held::Lock));
        let files = directory.join("fs");
        if !files.is_dir() {
            // Filled aside and renamed, so that a half-filled one is never seen.
            let workspace = hands.store.workspace()?;
            let new = workspace.path().join("fs");
            fs::create_dir(&new).map_err(doing)?;
            let into = root::open_dir(&new).map_err(doing)?;
            if let Some(from) = from {
                fill(&into, &*(hands.tree)(from)?, source)?;
            }
            fchownat(&into, ".", Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)), AtFlags::empty())
                .map_err(|errno| doing(errno.into()))?;
            fchmodat(&into, ".", Mode::from_bits_truncate(*mode), FchmodatFlags::FollowSymlink)
                .map_err(|errno| doing(errno.into()))?;
            match fs::rename(&new, &files) {
                // Another step was faster.
                Err(_) if files.is_dir() => {}
                other => other.map_err(doing)?,
            }
        }
        self.push((&files, &mount.target), *access, StubKind::Directory);
        Ok(())
    }

    fn secret(
        &mut self,
        secret: &Credential,
        (target, place): (&str, &Path),
        hands: &Hands<'_>,
    ) -> Result<(), Error> {
        let value = match hands.credentials.secrets.get(&secret.id) {
            Some(Secret::Value(value)) => value.clone(),
            Some(Secret::File(path)) => fs::read(path)
                .map_err(|error| Error::system(format!("read the secret {}", secret.id), error))?,
            None if secret.required => return Err(missing("secret", &secret.id)),
            None => return Ok(()),
        };
        if let Some(name) = &secret.env {
            let text = String::from_utf8(value.clone()).ok().filter(|text| !text.contains('\0')).ok_or_else(
                || {
                    Error::new(
                        Kind::Invalid,
                        format!("the secret {} is no text and cannot be a variable", secret.id),
                    )
                },
            )?;
            self.env.push(format!("{name}={text}"));
        }
        if target.is_empty() {
            return Ok(());
        }
        // In memory: a secret never reaches a disk by us.
        let doing = |error| Error::system(format!("lay out the secret {}", secret.id), error);
        self.held.push(Held::Memory(Memory::at(place.to_owned()).map_err(doing)?));
        let path = place.join("secret");
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(doing)?;
        file.write_all(&value).map_err(doing)?;
        nix::unistd::fchown(&file, Some(Uid::from_raw(secret.uid)), Some(Gid::from_raw(secret.gid)))
            .map_err(|errno| doing(errno.into()))?;
        nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(secret.mode))
            .map_err(|errno| doing(errno.into()))?;
        self.push((&path, target), Access::ReadOnly, StubKind::File);
        Ok(())
    }

    fn agent(
        &mut self,
        asked: &Credential,
        (target, place): (&str, &Path),
        hands: &Hands<'_>,
    ) -> Result<(), Error> {
        let user = match hands.credentials.ssh.get(&asked.id) {
            Some(user) => user,
            None if asked.required => return Err(missing("ssh", &asked.id)),
            None => return Ok(()),
        };
        let agent = Agent::before(user, place, asked)
            .map_err(|error| Error::system(format!("offer the agent {}", asked.id), error))?;
        self.push((&agent.socket, target), Access::ReadWrite, StubKind::File);
        self.held.push(Held::Agent(agent));
        self.env.extend(asked.env.iter().map(|name| format!("{name}={target}")));
        Ok(())
    }
}

fn missing(flag: &str, id: &str) -> Error {
    let give = if flag == "ssh" { format!("--ssh {id}") } else { format!("--{flag} id={id}") };
    Error::new(Kind::Invalid, format!("this step needs the {flag} {id}")).hint(format!("give it by {give}"))
}

fn kind_of(object: &OwnedFd) -> std::io::Result<StubKind> {
    let directory = fstat(object)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    Ok(if directory { StubKind::Directory } else { StubKind::File })
}

/// Gives an object a path that the runtime can mount from.
fn show(object: &OwnedFd, kind: StubKind, place: &Path) -> std::io::Result<()> {
    match kind {
        StubKind::Directory => fs::create_dir(place)?,
        StubKind::File => fs::write(place, "")?,
    }
    let at = nix::fcntl::open(place, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    overlay::attach(&overlay::clone_tree(object)?, at)
}

/// The directory of a cache, locked as its sharing asks.
fn reserve(hands: &Hands<'_>, id: &str, sharing: Sharing) -> std::io::Result<(PathBuf, Option<File>)> {
    // The name is hashed: it comes from the Dockerfile, and is a path here.
    let name = Digest::of(id.as_bytes()).hex().to_owned();
    let home = hands.store.root().join("caches");
    let open = |directory: &Path| {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        File::options().create(true).truncate(false).write(true).open(directory.join("lock"))
    };
    match sharing {
        Sharing::Shared => {
            let directory = home.join(&name);
            open(&directory).map(|_| (directory, None))
        }
        Sharing::Locked => {
            let directory = home.join(&name);
            let lock = open(&directory)?;
            lock.lock()?;
            Ok((directory, Some(lock)))
        }
        Sharing::Private => {
            for number in 0..1024 {
                let suffix = if number == 0 { String::new() } else { format!("-{number}") };
                let directory = home.join(format!("{name}{suffix}"));
                let lock = open(&directory)?;
                if lock.try_lock().is_ok() {
                    return Ok((directory, Some(lock)));
                }
            }
            Err(std::io::Error::from_raw_os_error(libc::EBUSY))
        }
    }
}

/// Copies what a new cache begins with.
fn fill(into: &OwnedFd, tree: &Tree, source: &str) -> Result<(), Error> {
    let doing = |error| Error::system(format!("fill a cache from {source}"), error);
    let Some(at) = tree.root() else { return Ok(()) };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let from = root::open(at, &Path::new("/").join(source), flags).map_err(doing)?;
    let rules = Rules { owner: None, chmod: None, time: None, excludes: None };
    let path = Path::new(source.trim_start_matches('/'));
    Placing::new(tree, &rules, Path::new("")).content(&from, path, into).map_err(doing)?;
    Ok(())
}
