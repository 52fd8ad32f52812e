//! The walk over an upper directory, in the order of names.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, major, minor};

use super::compare;
use crate::error::{Error, Kind};
use crate::layer::{Entry, EntryKind, TarStream, Writer};
use crate::sys::overlay::Attributes;
use crate::sys::{root, xattr};

/// What becomes of modification times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clamp {
    /// They stay.
    Keep,
    /// Later ones become this one.
    To(i64),
}

impl Clamp {
    fn of(self, mtime: i64) -> i64 {
        match self {
            Self::Keep => mtime,
            Self::To(latest) => mtime.min(latest),
        }
    }

    /// The time of a mark, which has none of its own.
    fn mark(self) -> i64 {
        match self {
            Self::Keep => 0,
            Self::To(latest) => latest,
        }
    }
}

/// One difference between the upper directory and what is below it.
#[derive(Debug)]
pub enum Change<'a> {
    /// The object at the path is new or changed; a file's content comes with it.
    Put(Entry<'a>, Option<File>),
    /// What is below at the path is gone.
    Remove(&'a Path),
    /// Everything below in the directory is gone.
    Empty(&'a Path),
}

/// Writes the differences into a layer, for as long as `go_on` does not object.
///
/// # Errors
/// The file system's; the writer's; that of `go_on`.
pub fn write(
    writer: &mut Writer,
    (upper, lower): (&OwnedFd, Option<&OwnedFd>),
    clamp: Clamp,
    go_on: &dyn Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    walk(upper, lower, clamp, &mut |change| {
        go_on()?;
        match change {
            Change::Put(entry, Some(mut content)) => writer.add(&entry, &mut content),
            Change::Put(entry, None) => writer.add(&entry, &mut io::empty()),
            Change::Remove(path) => writer.add_whiteout(path, clamp.mark()),
            Change::Empty(path) => writer.add_opaque(path, clamp.mark()),
        }
    })
}

/// Writes every file of a tree into a tar.
///
/// # Errors
/// The file system's; the stream's.
pub fn pack(tar: &mut TarStream<'_>, root: &OwnedFd, clamp: Clamp) -> Result<(), Error> {
    walk(root, None, clamp, &mut |change| {
        // Of a tree that is above nothing there is nothing else.
        let Change::Put(entry, content) = change else { return Ok(()) };
        let added = match content {
            Some(mut content) => tar.add(&entry, &mut content),
            None => tar.add(&entry, &mut io::empty()),
        };
        added.map_err(|error| Error::system(format!("write {} to the archive", entry.path.display()), error))
    })
}

/// Whether there is no difference at all; the walk ends at the first.
///
/// # Errors
/// The file system's.
pub fn is_empty(upper: &OwnedFd, lower: Option<&OwnedFd>, clamp: Clamp) -> Result<bool, Error> {
    let mut empty = true;
    let walked = walk(upper, lower, clamp, &mut |_| {
        empty = false;
        Err(Error::new(Kind::Invalid, "there is a difference"))
    });
    if empty { walked.map(|()| true) } else { Ok(false) }
}

/// Tells `sink` each difference between `upper` and the file system below it, parents first.
///
/// # Errors
/// The file system's; the sink's.
pub fn walk(
    upper: &OwnedFd,
    lower: Option<&OwnedFd>,
    clamp: Clamp,
    sink: &mut dyn FnMut(Change<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut walk = Walk {
        clamp,
        attributes: Attributes::of_this_process(),
        links: HashMap::new(),
        parents: Vec::new(),
        sink,
    };
    walk.directory(upper, lower, Path::new(""))
}

struct Walk<'s> {
    clamp: Clamp,
    attributes: Attributes,
    /// First path of each object that has several names.
    links: HashMap<(u64, u64), PathBuf>,
    /// Unchanged directories on the way down, told only when something in them is.
    parents: Vec<Owned>,
    sink: &'s mut dyn FnMut(Change<'_>) -> Result<(), Error>,
}

/// An entry that waits.
struct Owned {
    path: PathBuf,
    stat: FileStat,
    xattrs: Vec<(OsString, Vec<u8>)>,
    told: bool,
}

impl Walk<'_> {
    fn directory(&mut self, upper: &OwnedFd, lower: Option<&OwnedFd>, path: &Path) -> Result<(), Error> {
        root::check_depth(path).map_err(|error| Error::system("read what the step changed", error))?;
        let doing =
            |error| Error::system(format!("read what the step changed in /{}", path.display()), error);
        for name in root::names(upper).map_err(doing)? {
            let at = path.join(&name);
            self.object(upper, lower, (&name, &at)).map_err(|error| match error {
                Failed::Io(error) => {
                    Error::system(format!("read what the step changed at /{}", at.display()), error)
                }
                Failed::Told(error) => error,
            })?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        upper: &OwnedFd,
        lower: Option<&OwnedFd>,
        (name, path): (&OsStr, &Path),
    ) -> Result<(), Failed> {
        let Some(above) = compare::stat(upper, name)? else { return Ok(()) };
        let below = match lower {
            Some(lower) => compare::stat(lower, name)?,
            None => None,
        };
        match SFlag::from_bits_truncate(above.st_mode & libc::S_IFMT) {
            SFlag::S_IFCHR if above.st_rdev == 0 => {
                if below.is_some() {
                    self.tell(Change::Remove(path))?;
                }
                Ok(())
            }
            SFlag::S_IFDIR => self.subdirectory((upper, &above), lower.zip(below.as_ref()), (name, path)),
            SFlag::S_IFSOCK => Ok(()), // a socket means nothing without the process that listens on it
            _ => self.leaf(upper, &above, (name, path)),
        }
    }

    fn subdirectory(
        &mut self,
        upper: (&OwnedFd, &FileStat),
        lower: Option<(&OwnedFd, &FileStat)>,
        (name, path): (&OsStr, &Path),
    ) -> Result<(), Failed> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let inside = root::open_child(upper.0, name, flags)?;
        let lower = lower.filter(|(_, below)| is_directory(below));
        // A new directory is opaque too, as the kernel makes it: it matters only where it hides something.
        let hides = lower.is_some() && compare::is_opaque(upper.0, name, self.attributes)?;
        let same = match lower {
            Some(lower) if !hides => compare::same_directory(upper, lower, name, self.clamp)?,
            _ => false,
        };
        let xattrs = compare::xattrs(upper.0, name)?;
        self.parents.push(Owned { path: path.to_owned(), stat: *upper.1, xattrs, told: false });
        if !same {
            self.tell_parents()?;
        }
        if hides {
            self.tell(Change::Empty(path))?;
        }
        let lower = match lower {
            Some((lower, _)) if !hides => Some(root::open_child(lower, name, flags)?),
            _ => None,
        };
        self.directory(&inside, lower.as_ref(), path)?;
        self.parents.pop();
        Ok(())
    }

    fn leaf(
        &mut self,
        upper: &OwnedFd,
        above: &FileStat,
        (name, path): (&OsStr, &Path),
    ) -> Result<(), Failed> {
        if above.st_nlink > 1 {
            let identity = (above.st_dev, above.st_ino);
            if let Some(first) = self.links.get(&identity).cloned() {
                let xattrs = compare::xattrs(upper, name)?;
                return self.tell(Change::Put(
                    self.entry(path, (EntryKind::HardLink(&first), above), &xattrs),
                    None,
                ));
            }
            self.links.insert(identity, path.to_owned());
        }
        let kind = SFlag::from_bits_truncate(above.st_mode & libc::S_IFMT);
        if kind == SFlag::S_IFREG {
            let file = File::from(root::open_child(upper, name, OFlag::O_RDONLY)?);
            let xattrs = compare::of_layer(xattr::list_own(&file)?);
            // Nobody writes here any more: its size is the one that was seen.
            let kind = EntryKind::File(above.st_size.unsigned_abs());
            return self.tell(Change::Put(self.entry(path, (kind, above), &xattrs), Some(file)));
        }
        let xattrs = compare::xattrs(upper, name)?;
        let (device_major, device_minor) = (number(major(above.st_rdev)), number(minor(above.st_rdev)));
        let target;
        let kind = match kind {
            SFlag::S_IFLNK => {
                target = PathBuf::from(readlinkat(upper, name).map_err(io::Error::from)?);
                EntryKind::Symlink(&target)
            }
            SFlag::S_IFCHR => EntryKind::Character(device_major, device_minor),
            SFlag::S_IFBLK => EntryKind::Block(device_major, device_minor),
            _ => EntryKind::Fifo,
        };
        self.tell(Change::Put(self.entry(path, (kind, above), &xattrs), None))
    }

    fn entry<'e>(
        &self,
        path: &'e Path,
        (kind, stat): (EntryKind<'e>, &FileStat),
        xattrs: &'e [(OsString, Vec<u8>)],
    ) -> Entry<'e> {
        Entry {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: self.clamp.of(stat.st_mtime),
            xattrs,
        }
    }

    fn tell(&mut self, change: Change<'_>) -> Result<(), Failed> {
        self.tell_parents()?;
        (self.sink)(change).map_err(Failed::Told)
    }

    fn tell_parents(&mut self) -> Result<(), Failed> {
        let mut parents = std::mem::take(&mut self.parents);
        for parent in parents.iter_mut().filter(|parent| !parent.told) {
            parent.told = true;
            let entry = self.entry(&parent.path, (EntryKind::Directory, &parent.stat), &parent.xattrs);
            (self.sink)(Change::Put(entry, None)).map_err(Failed::Told)?;
        }
        self.parents = parents;
        Ok(())
    }
}

/// The walk's own failures get their path one level up; the sink's have it.
enum Failed {
    Io(io::Error),
    Told(Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

fn is_directory(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

fn number(part: u64) -> u32 {
    u32::try_from(part).unwrap_or(u32::MAX)
}
