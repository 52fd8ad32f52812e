//! The root directory: all containers of one caller.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::ContainerId;
use super::entry::{self, Entry};
use super::record::{Head, Intent, Record};
use crate::error::{Error, Kind};

/// The directory that `--root` names.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
}

/// What a directory below the root turned out to be.
#[derive(Debug)]
pub enum Found {
    Container(Box<Record>),
    /// Creation is going on, or was cut off.
    Intent(Intent),
    /// A state file that cannot be read.
    Corrupt(Error),
}

impl Root {
    /// Names the directory; it need not exist until something is written.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path)
            .map_err(|source| Error::system(format!("find {}", path.display()), source))?;
        Ok(Self { path })
    }

    /// A directory in a place where everybody may make things: whose it is decides what `delete` runs and kills, so that it
    /// is made here, or is refused unless the caller has made it before.
    pub fn claimed(path: &Path) -> Result<Self, Error> {
        use std::os::linux::fs::MetadataExt;
        let wrong = |source| Error::system(format!("create {}", path.display()), source);
        match make_dir(path) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(wrong(errno.into())),
        }
        let found = std::fs::symlink_metadata(path).map_err(wrong)?;
        let is_ours = found.st_uid() == nix::unistd::geteuid().as_raw() && found.st_mode() & 0o022 == 0;
        match found.is_dir() && is_ours {
            true => Self::new(path),
            false => {
                let text =
                    format!("use {}: it is not a directory that only its caller can change", path.display());
                Err(Error::new(Kind::Attack, text)
                    .hint("set XDG_RUNTIME_DIR, or name another one with --root"))
            }
        }
    }

    /// A container's own directory.
    pub fn dir(&self, id: &ContainerId) -> PathBuf {
        self.path.join(id.as_str())
    }

    /// Takes the name: of several that try, exactly one gets the directory. It is locked until the entry is dropped. `first` may still
    /// refuse, before anything is written down.
    pub fn intend(
        &self,
        id: &ContainerId,
        intent: &Intent,
        first: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Entry, Error> {
        loop {
            let Some(entry) = self.make(id)? else { continue };
            let looked = entry.lock().and_then(|()| first());
            if let Err(error) = looked {
                // Whatever is in it is not ours.
                drop(std::fs::remove_dir(entry.path()));
                return Err(error);
            }
            let Err(error) = entry.begin(intent) else { return Ok(entry) };
            match error.errno() {
                // `delete --force` has found a directory without a state, and was faster than our lock.
                Some(libc::ENOENT) if !entry.is_there() => {}
                // Another has made it since: what we hold is his.
                Some(libc::EEXIST) => return Err(taken(entry.path(), Errno::EEXIST)),
                _ => {
                    // The disk is full, perhaps: the name stays free.
                    drop(entry.remove());
                    return Err(error);
                }
            }
        }
    }

    /// None where the directory was removed before it could be opened.
    fn make(&self, id: &ContainerId) -> Result<Option<Entry>, Error> {
        let path = self.dir(id);
        match make_dir(&path) {
            Ok(()) => {}
            Err(Errno::ENOENT) => {
                self.make_root().and_then(|()| make_dir(&path).map_err(|e| taken(&path, e)))?
            }
            Err(errno) => return Err(taken(&path, errno)),
        }
        match Entry::open(path) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn make_root(&self) -> Result<(), Error> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&self.path);
        made.map_err(|source| Error::system(format!("create {}", self.path.display()), source))
    }

    /// The record of a container that exists.
    pub fn load(&self, id: &ContainerId) -> Result<Record, Error> {
        self.load_all(id).map(|(record, _)| record)
    }

    /// The same with the configuration with which the container was created.
    pub fn load_all(&self, id: &ContainerId) -> Result<(Record, String), Error> {
        let (found, text) = self.read(id)?;
        match found {
            Found::Container(record) => Ok((*record, entry::config(&text).to_owned())),
            Found::Intent(_) => Err(does_not_exist()),
            Found::Corrupt(error) => Err(error),
        }
    }

    /// The configuration with which the container was created.
    pub fn config(&self, id: &ContainerId) -> Result<String, Error> {
        let text = entry::read(&self.dir(id))?.ok_or_else(does_not_exist)?;
        Ok(entry::config(&text).to_owned())
    }

    /// Whatever is there under that name.
    pub fn find(&self, id: &ContainerId) -> Result<Found, Error> {
        self.read(id).map(|(found, _)| found)
    }

    fn read(&self, id: &ContainerId) -> Result<(Found, String), Error> {
        let dir = self.dir(id);
        match entry::read(&dir) {
            Ok(None) if dir.is_dir() => {
                let text = format!("{}: state.json is missing", dir.display());
                Ok((Found::Corrupt(Error::new(Kind::Invalid, text)), String::new()))
            }
            Ok(None) => Err(does_not_exist()),
            Ok(Some(text)) => {
                let found = match entry::head(&dir, &text) {
                    Ok(Head::Record(record)) => Found::Container(Box::new(record)),
                    Ok(Head::Intent(intent)) => Found::Intent(intent),
                    Err(error) => Found::Corrupt(error),
                };
                Ok((found, text))
            }
            Err(error) => Ok((Found::Corrupt(error), String::new())),
        }
    }

    /// An entry of a container that exists, not locked.
    pub fn entry(&self, id: &ContainerId) -> Result<Entry, Error> {
        match Entry::open(self.dir(id)) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Err(does_not_exist()),
            other => other,
        }
    }

    /// The same, locked. Whoever had the lock may have removed the container, and somebody may have made another one of that name.
    pub fn locked(&self, id: &ContainerId) -> Result<Entry, Error> {
        loop {
            let entry = self.entry(id)?;
            entry.lock()?;
            if entry.is_there() {
                return Ok(entry);
            }
        }
    }

    /// The same; None where somebody keeps the lock for longer than that.
    pub fn locked_within(&self, id: &ContainerId, limit: Duration) -> Result<Option<Entry>, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let entry = self.entry(id)?;
            while !entry.try_lock()? {
                if Instant::now() > deadline {
                    return Ok(None);
                }
                // flock(2) knows no limit, and nothing tells of a lock that has become free.
                std::thread::sleep(Duration::from_millis(2));
            }
            if entry.is_there() {
                return Ok(Some(entry));
            }
        }
    }

    /// All names below the root, in order.
    pub fn ids(&self) -> Result<Vec<ContainerId>, Error> {
        let wrong = |source| Error::system(format!("open {}", self.path.display()), source);
        let mut ids = Vec::new();
        for found in std::fs::read_dir(&self.path).map_err(wrong)? {
            let found = found.map_err(wrong)?;
            let is_dir = found.file_type().is_ok_and(|kind| kind.is_dir());
            if let (true, Ok(id)) = (is_dir, ContainerId::parse(&found.file_name().to_string_lossy())) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }
}

fn make_dir(path: &Path) -> Result<(), Errno> {
    // Not readable by others, but to be crossed: a mapped init opens its fifo below.
    nix::unistd::mkdir(path, Mode::from_bits_truncate(0o711))
}

fn taken(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::EEXIST => Error::new(Kind::Invalid, "container with given ID already exists"),
        errno => Error::system(format!("create {}", path.display()), errno),
    }
}

/// runc's words; engines look for them.
fn does_not_exist() -> Error {
    Error::new(Kind::Invalid, "container does not exist")
}

/// Opens a directory as a handle.
pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())
        .map_err(|errno| Error::system(format!("open {}", path.display()), errno))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::{Cgroup, Process, VERSION};
    use super::*;

    fn intent() -> Intent {
        let by = Process::own().unwrap();
        Intent { version: VERSION, by, bundle: PathBuf::from("/"), cgroup: Cgroup::default(), rdt: None }
    }

    /// As when `delete --force` is asked for twice, and the name is taken again before the second one has its turn.
    #[test]
    fn a_lock_that_was_waited_for_is_the_present_container_s() {
        let dir = std::env::temp_dir().join(format!("coracle-locked-{}", std::process::id()));
        let root = Root::new(&dir).unwrap();
        let id = ContainerId::parse("a").unwrap();
        let first = root.intend(&id, &intent(), &|| Ok(())).unwrap();
        let late = root.entry(&id).unwrap();
        first.remove().unwrap();
        let second = root.intend(&id, &intent(), &|| Ok(())).unwrap();
        first.unlock();
        late.lock().unwrap();
        assert!(!late.is_there());
        second.unlock();
        assert!(root.locked(&id).unwrap().is_there());
        second.remove().unwrap();
        assert_eq!(root.locked(&id).unwrap_err().to_string(), "container does not exist");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// As when `delete --force` comes between the making of the directory and its lock, and the name is taken again at once.
    #[test]
    fn a_creation_that_has_lost_its_directory_leaves_the_next_one_s_alone() {
        let dir = std::env::temp_dir().join(format!("coracle-lost-{}", std::process::id()));
        let root = Root::new(&dir).unwrap();
        let id = ContainerId::parse("a").unwrap();
        let next = std::cell::OnceCell::new();
        let lost = root.intend(&id, &intent(), &|| {
            std::fs::remove_dir(root.dir(&id)).unwrap();
            next.set(root.intend(&id, &intent(), &|| Ok(())).unwrap()).unwrap();
            Ok(())
        });
        assert_eq!(lost.unwrap_err().to_string(), "container with given ID already exists");
        let next = next.into_inner().unwrap();
        assert!(next.is_there() && root.find(&id).is_ok());
        next.remove().unwrap();
        // Nobody has taken it: the creation starts over.
        let begun = std::cell::Cell::new(0);
        let entry = root.intend(&id, &intent(), &|| {
            begun.set(begun.get() + 1);
            if begun.get() == 1 {
                std::fs::remove_dir(root.dir(&id)).unwrap();
            }
            Ok(())
        });
        assert_eq!(begun.get(), 2);
        entry.unwrap().remove().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_removal_by_one_who_has_lost_the_name_takes_nothing_of_the_next_one() {
        let dir = std::env::temp_dir().join(format!("coracle-late-{}", std::process::id()));
        let root = Root::new(&dir).unwrap();
        let id = ContainerId::parse("a").unwrap();
        let first = root.intend(&id, &intent(), &|| Ok(())).unwrap();
        std::fs::remove_dir_all(root.dir(&id)).unwrap();
        let next = root.intend(&id, &intent(), &|| Ok(())).unwrap();
        first.remove().unwrap();
        assert!(next.is_there() && matches!(root.find(&id), Ok(Found::Intent(_))));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_refusal_before_the_first_word_leaves_the_name_free() {
        let dir = std::env::temp_dir().join(format!("coracle-refused-{}", std::process::id()));
        let root = Root::new(&dir).unwrap();
        let id = ContainerId::parse("a").unwrap();
        let refused = root.intend(&id, &intent(), &|| Err(Error::new(Kind::Invalid, "the cgroup is in use")));
        assert_eq!(refused.unwrap_err().to_string(), "the cgroup is in use");
        assert!(!root.dir(&id).exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_lock_is_waited_for_until_the_limit() {
        let dir = std::env::temp_dir().join(format!("coracle-within-{}", std::process::id()));
        let root = Root::new(&dir).unwrap();
        let id = ContainerId::parse("a").unwrap();
        let entry = root.intend(&id, &intent(), &|| Ok(())).unwrap();
        let moment = Duration::from_millis(5);
        assert!(root.locked_within(&id, moment).unwrap().is_none());
        entry.unlock();
        assert!(root.locked_within(&id, moment).unwrap().is_some());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_root_that_somebody_else_could_change_is_refused() {
        let dir = std::env::temp_dir().join(format!("coracle-claimed-{}", std::process::id()));
        let own = dir.join("own");
        std::fs::create_dir_all(&dir).unwrap();
        for round in ["made", "found"] {
            assert!(Root::claimed(&own).is_ok(), "{round}");
        }
        symlink(&own, dir.join("link")).unwrap();
        let open = dir.join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        for name in ["link", "open"] {
            let path = dir.join(name);
            let expected = format!(
                "use {}: it is not a directory that only its caller can change (set XDG_RUNTIME_DIR, or name another one with --root)",
                path.display()
            );
            assert_eq!(Root::claimed(&path).unwrap_err().to_string(), expected);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
