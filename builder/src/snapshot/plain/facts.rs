//! What a step changed in a tree of copies, by comparing what the kernel knows of each object before and after.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::time::{ClockId, clock_gettime};

use super::merge::{Described, like};
use crate::sys::overlay::Attributes;
use crate::sys::{proc_path, root, xattr};

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// A part of the kernel's clock tick, which is 1 to 10 ms.
const TICK: Duration = Duration::from_millis(1);

/// Which object it is, and when anything of it was last changed: no write, link or change of its attributes leaves that time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    inode: u64,
    /// An inode's number comes again when the object is gone.
    born: Option<SystemTime>,
}

/// An object as it was.
#[derive(Debug)]
struct Object {
    identity: Identity,
    changed: (i64, i64),
    /// Of a directory.
    inside: Option<Facts>,
}

/// The objects of a directory, by name.
#[derive(Debug, Default)]
pub(in crate::snapshot) struct Facts(BTreeMap<OsString, Object>);

impl Object {
    fn of(at: &OwnedFd, name: &OsStr) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(Path::new(&proc_path(at)).join(name))?;
        Ok(Self {
            identity: Identity { inode: found.ino(), born: found.created().ok() },
            changed: (found.ctime(), found.ctime_nsec()),
            inside: found.is_dir().then(Facts::default),
        })
    }
}

/// Every object of a tree. Whatever is changed from here on gets another time: the kernel's clock for files moves in ticks,
/// and the last of the tree's has passed.
pub(in crate::snapshot) fn record(tree: &OwnedFd) -> io::Result<Facts> {
    let facts = look(tree)?;
    let newest = facts.newest();
    loop {
        let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE)?;
        if newest.is_none_or(|newest| (now.tv_sec(), now.tv_nsec()) > newest) {
            return Ok(facts);
        }
        std::thread::sleep(TICK);
    }
}

impl Facts {
    /// The latest time of a change in it.
    fn newest(&self) -> Option<(i64, i64)> {
        let inside = |object: &Object| object.inside.as_ref().and_then(Self::newest);
        self.0.values().map(|object| inside(object).map_or(object.changed, |i| i.max(object.changed))).max()
    }
}

fn look(tree: &OwnedFd) -> io::Result<Facts> {
    let mut facts = Facts::default();
    for name in root::names(tree)? {
        let mut object = Object::of(tree, &name)?;
        if object.inside.is_some() {
            object.inside = Some(look(&root::open_child(tree, &name, DIRECTORY)?)?);
        }
        facts.0.insert(name, object);
    }
    Ok(facts)
}

/// Moves what is new or changed since `before` from the tree into `upper`, and marks there what is gone: `upper` is then what an
/// overlay's would be.
pub(in crate::snapshot) fn collect(tree: &OwnedFd, before: &Facts, upper: &OwnedFd) -> io::Result<()> {
    let described = Described::of(tree, OsStr::new("."))?;
    let top = Level { above: None, upper: OnceCell::from(upper.try_clone()?), name: OsStr::new("") };
    top.collect(tree, before)?;
    like(upper, OsStr::new("."), &described)
}

/// A directory on the way down; it is made in the upper tree when something in it has to be there.
struct Level<'a> {
    above: Option<&'a Level<'a>>,
    name: &'a OsStr,
    upper: OnceCell<OwnedFd>,
}

impl Level<'_> {
    fn upper(&self) -> io::Result<&OwnedFd> {
        if let (None, Some(above)) = (self.upper.get(), self.above) {
            let parent = above.upper()?;
            mkdirat(parent, self.name, Mode::S_IRWXU)?;
            // Empty until now: nobody else has this value.
            drop(self.upper.set(root::open_child(parent, self.name, DIRECTORY)?));
        }
        self.upper.get().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn collect(&self, tree: &OwnedFd, before: &Facts) -> io::Result<()> {
        let names = root::names(tree)?;
        for gone in before.0.keys().filter(|name| names.binary_search(name).is_err()) {
            mknodat(self.upper()?, gone.as_os_str(), SFlag::S_IFCHR, Mode::empty(), 0)?;
        }
        for name in names {
            let now = Object::of(tree, &name)?;
            match before.0.get(&name) {
                Some(was) if was.identity == now.identity && was.inside.is_some() == now.inside.is_some() => {
                    self.known((tree, &name), was, &now)?;
                }
                was => {
                    self.take(tree, &name)?;
                    let replaces = was.is_some_and(|was| was.inside.is_some());
                    if replaces && now.inside.is_some() {
                        self.hide_below(&name)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// An object that was there before.
    fn known(&self, (tree, name): (&OwnedFd, &OsStr), was: &Object, now: &Object) -> io::Result<()> {
        let is_touched = was.changed != now.changed;
        let Some(before) = &was.inside else {
            return if is_touched { self.take(tree, name) } else { Ok(()) };
        };
        // Before anything is moved out of it, which changes its time.
        let inside = root::open_child(tree, name, DIRECTORY)?;
        let described = Described::of(&inside, OsStr::new("."))?;
        let level = Level { above: Some(self), name, upper: OnceCell::new() };
        if is_touched {
            level.upper()?;
        }
        level.collect(&inside, before)?;
        match level.upper.get() {
            Some(upper) => like(upper, OsStr::new("."), &described),
            None => Ok(()),
        }
    }

    fn take(&self, tree: &OwnedFd, name: &OsStr) -> io::Result<()> {
        Ok(renameat(tree, name, self.upper()?, name)?)
    }

    fn hide_below(&self, name: &OsStr) -> io::Result<()> {
        let key = Attributes::of_this_process().opaque();
        xattr::set(self.upper()?, name, OsStr::from_bytes(key.to_bytes()), b"y")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// At once, with the same size and into the same place: nothing but the time of the change tells.
    #[test]
    fn a_change_right_after_the_look_is_seen() {
        for round in 0..20 {
            let place = tempfile::tempdir().unwrap();
            let [tree, upper] = ["tree", "upper"].map(|name| place.path().join(name));
            fs::create_dir_all(tree.join("same")).unwrap();
            fs::create_dir(&upper).unwrap();
            for name in ["written", "replaced", "same/kept"] {
                fs::write(tree.join(name), "before").unwrap();
            }
            let open = |path: &Path| root::open_dir(path).unwrap();
            let facts = record(&open(&tree)).unwrap();
            fs::write(tree.join("written"), "after ").unwrap();
            fs::remove_file(tree.join("replaced")).unwrap();
            fs::write(tree.join("replaced"), "after ").unwrap();
            collect(&open(&tree), &facts, &open(&upper)).unwrap();
            let names: Vec<_> = root::names(open(&upper)).unwrap();
            assert_eq!(names, ["replaced", "written"], "round {round}");
            assert_eq!(fs::read_to_string(upper.join("written")).unwrap(), "after ");
            assert!(tree.join("same/kept").exists());
        }
    }
}
