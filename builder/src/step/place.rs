//! Putting objects into a file system, with the owner, mode and time that they are to have there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, fstatat, futimens,
    mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};

use super::links::{self, Links, Top};
use super::mode;
use crate::context::{Match, Owner, Tree};
use crate::dockerfile::ignore::Ignore;
use crate::error::{Error, Kind};
use crate::graph::Unpack;
use crate::layer::{self, Compression, Ownership, Whiteouts};
use crate::sys::{proc_path, reflink, root, userns, xattr};

/// A name in a directory.
type At<'a> = (&'a OwnedFd, &'a OsStr);

/// What the flags of the instruction say about everything that is put.
pub(super) struct Rules<'a> {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) chmod: Option<&'a str>,
    /// The time that files of a user's directory get.
    pub(super) time: Option<i64>,
    pub(super) excludes: Option<&'a Ignore>,
}

/// One source on its way.
pub(super) struct Placing<'a> {
    tree: &'a Tree,
    rules: &'a Rules<'a>,
    /// Where the patterns of `--exclude` begin.
    base: &'a Path,
    links: Links,
}

impl Rules<'_> {
    /// Gives a directory that had to be made the owner and the mode that everything of the instruction gets.
    pub(super) fn own(&self, directory: At<'_>) -> io::Result<()> {
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        if self.chmod.is_some() {
            return self.finish(directory, Attributes { uid, gid, mode: libc::S_IFDIR | 0o755, mtime: None });
        }
        // Its mode stays: in a set-gid directory it is one too.
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(fchownat(directory.0, directory.1, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Writes a file whose content stands in the Dockerfile.
    pub(super) fn inline(&self, directory: &OwnedFd, name: &OsStr, content: &[u8]) -> io::Result<()> {
        make_room(directory, name)?;
        let file = root::create_child(directory, name, 0o600)?;
        File::from(file.try_clone()?).write_all(content)?;
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        self.finish(
            (directory, name),
            Attributes { uid, gid, mode: 0o644, mtime: self.time.map(|time| (time, 0)) },
        )
    }

    fn finish(&self, (directory, name): At<'_>, attributes: Attributes) -> io::Result<()> {
        let mode = self.mode(attributes)?;
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        // After the owner: changing that clears set-id bits. The name is a file or directory that we have just made.
        fchmodat(directory, name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)?;
        set_time(directory, name, attributes.mtime)
    }

    fn mode(&self, attributes: Attributes) -> io::Result<u32> {
        let is_directory = attributes.mode & libc::S_IFMT == libc::S_IFDIR;
        match self.chmod {
            Some(change) => mode::changed(change, attributes.mode, is_directory)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string())),
            None => Ok(attributes.mode & 0o7777),
        }
    }
}

/// As `Rules::finish`, for a file that was made with `mode` a moment ago. Most have their owner and mode from that, and looking is
/// cheaper than setting them again.
fn finish_new(file: &File, attributes: Attributes, mode: u32) -> io::Result<()> {
    let found = fstat(file)?;
    let is_owner_right = (found.st_uid, found.st_gid) == (attributes.uid, attributes.gid);
    if !is_owner_right {
        fchown(file, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
    }
    // After the owner: changing that clears set-id bits.
    if !is_owner_right || found.st_mode & 0o7777 != mode {
        fchmod(file, Mode::from_bits_truncate(mode))?;
    }
    let Some((seconds, nanoseconds)) = attributes.mtime else { return Ok(()) };
    let time = TimeSpec::new(seconds, nanoseconds);
    Ok(futimens(file, &time, &time)?)
}

#[derive(Clone, Copy)]
struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Option<(i64, i64)>,
}

impl<'a> Placing<'a> {
    pub(super) fn new(tree: &'a Tree, rules: &'a Rules<'a>, base: &'a Path) -> Self {
        Self { tree, rules, base, links: Links::default() }
    }

    /// The directory `path`. Those that are missing are made, the last of them as those of `like` are.
    pub(super) fn directory_at(
        &self,
        at: BorrowedFd<'_>,
        path: &Path,
        like: &[&FileStat],
    ) -> io::Result<OwnedFd> {
        let mut made = Vec::new();
        let found = root::make_dirs(at, path, |parent, name, _| {
            made.push((parent.try_clone()?, name.to_owned()));
            self.rules.own((parent, name))
        })?;
        // From the innermost: the outer ones may have been there.
        for ((parent, name), stat) in made.iter().rev().zip(like.iter().rev()) {
            self.rules.finish((parent, name), self.attributes(stat))?;
        }
        Ok(found)
    }

    /// Everything in a directory, as far as it is not hidden or excluded.
    pub(super) fn content(&mut self, from: &OwnedFd, path: &Path, into: &OwnedFd) -> io::Result<()> {
        self.fill((from, path), into, Top { path, into })
    }

    fn fill(&mut self, (from, path): (&OwnedFd, &Path), into: &OwnedFd, top: Top<'_>) -> io::Result<()> {
        root::check_depth(path)?;
        for name in root::names(from)? {
            let at = path.join(&name);
            let stat = fstatat(from, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            match (self.is_left_out(&at), is_directory) {
                (true, true) if self.may_show_below(&at) => self.sparse((from, &name), &at, (into, top))?,
                (true, _) => {}
                (false, true) => self.subdirectory((from, &name), (&stat, &at), (into, top))?,
                (false, false) => self.object((from, &name), (&stat, &at), (into, top))?,
            }
        }
        Ok(())
    }

    fn is_left_out(&self, path: &Path) -> bool {
        self.tree.hides(path) || self.is_excluded(path)
    }

    /// Whether `--exclude` leaves it out.
    pub(super) fn is_excluded(&self, path: &Path) -> bool {
        self.rules.excludes.is_some_and(|ignore| ignore.excludes(&self.relative(path).to_string_lossy()))
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.base).unwrap_or(path)
    }

    fn may_show_below(&self, path: &Path) -> bool {
        self.tree.may_show_below(path)
            && self
                .rules
                .excludes
                .is_none_or(|ignore| ignore.may_see_below(&self.relative(path).to_string_lossy()))
    }

    /// A directory that is left out itself: it appears only if something in it does.
    fn sparse(&mut self, (from, name): At<'_>, path: &Path, into: (&OwnedFd, Top<'_>)) -> io::Result<()> {
        let inside = root::open_child(from, name, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        if self.shows_anything(&inside, path)? {
            let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            self.subdirectory((from, name), (&stat, path), into)?;
        }
        Ok(())
    }

    fn shows_anything(&self, directory: &OwnedFd, path: &Path) -> io::Result<bool> {
        root::check_depth(path)?;
        for name in root::names(directory)? {
            let at = path.join(&name);
            if !self.is_left_out(&at) {
                return Ok(true);
            }
            if let Ok(inside) = root::open_child(directory, &name, OFlag::O_PATH | OFlag::O_DIRECTORY)
                && self.may_show_below(&at)
                && self.shows_anything(&inside, &at)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn subdirectory(
        &mut self,
        (from, name): At<'_>,
        (stat, path): (&FileStat, &Path),
        (into, top): (&OwnedFd, Top<'_>),
    ) -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let inside = root::open_child(from, name, flags)?;
        match mkdirat(into, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let target = root::open_child(into, name, flags)?;
        self.fill((&inside, path), &target, top)?;
        self.copy_xattrs((from, name), (into, name))?;
        // After its content, which changes its time.
        self.rules.finish((into, name), self.attributes(stat))
    }

    /// A found object that is no directory.
    pub(super) fn file(&mut self, found: &Match, directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
        if found.stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            make_room(directory, name)?;
            return self.special(&found.stat, directory, name);
        }
        // Opened again through the descriptor: the same object, whatever happened to its name.
        let source = File::open(proc_path(found.object.as_fd()))?;
        self.regular(&source, &found.stat, (directory, name))
    }

    fn object(
        &mut self,
        (from, name): At<'_>,
        (stat, path): (&FileStat, &Path),
        (into, top): (&OwnedFd, Top<'_>),
    ) -> io::Result<()> {
        let kind = stat.st_mode & libc::S_IFMT;
        if kind == libc::S_IFSOCK {
            return Ok(());
        }
        if let Some(first) = self.links.first(stat) {
            make_room(into, name)?;
            return links::link(top, first, (into, name));
        }
        match kind {
            libc::S_IFREG => {
                // O_NONBLOCK: another process may have put a FIFO in the file's place, which would hang.
                let source = File::from(root::open_child(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
                self.regular(&source, stat, (into, name))?;
            }
            libc::S_IFLNK => {
                make_room(into, name)?;
                symlinkat(readlinkat(from, name)?.as_os_str(), into, name)?;
                let attributes = self.attributes(stat);
                let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
                fchownat(into, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
                set_time(into, name, attributes.mtime)?;
            }
            _ => {
                make_room(into, name)?;
                self.special(stat, into, name)?;
            }
        }
        self.links.note(stat, path);
        Ok(())
    }

    fn regular(&self, source: &File, stat: &FileStat, (into, name): At<'_>) -> io::Result<()> {
        let attributes = self.attributes(stat);
        let mode = self.rules.mode(attributes)?;
        // Not the set-id bits: writing would clear them.
        let create = || root::create_child(into, name, mode & 0o777);
        let target = File::from(match create() {
            // Rare: what was there is looked for only then.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                make_room(into, name)?;
                create()?
            }
            other => other?,
        });
        reflink::copy(source, &target, stat.st_size.unsigned_abs())?;
        finish_new(&target, attributes, mode)?;
        // After the owner: changing that clears capabilities.
        for (key, value) in self.passing(xattr::list_own(source)?) {
            xattr::set(into, name, &key, &value)?;
        }
        Ok(())
    }

    fn special(&self, stat: &FileStat, into: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
        mknodat(into, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, stat.st_rdev)?;
        self.rules.finish((into, name), self.attributes(stat))
    }

    fn attributes(&self, stat: &FileStat) -> Attributes {
        let found = match self.tree.owner {
            Owner::Root => (0, 0),
            Owner::Same => (stat.st_uid, stat.st_gid),
        };
        let (uid, gid) = self.rules.owner.unwrap_or(found);
        let own = (stat.st_mtime, stat.st_mtime_nsec);
        let mtime = match (self.tree.owner, self.rules.time) {
            // A user's directory has the times of its check-out, which differ on every machine.
            (Owner::Root, Some(time)) => (time, 0),
            _ => own,
        };
        Attributes { uid, gid, mode: stat.st_mode, mtime: Some(mtime) }
    }

    fn copy_xattrs(&self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        for (key, value) in self.passing(xattr::list(from.0, from.1)?) {
            xattr::set(to.0, to.1, &key, &value)?;
        }
        Ok(())
    }

    /// The user's own attributes always, capabilities from images only.
    fn passing(&self, mut attributes: Vec<(OsString, Vec<u8>)>) -> Vec<(OsString, Vec<u8>)> {
        attributes.retain(|(key, _)| {
            let name = key.to_string_lossy();
            let own = name.starts_with("user.") && !name.starts_with("user.overlay.");
            own || (name == "security.capability" && self.tree.owner == Owner::Same)
        });
        attributes
    }

    /// Unpacks `found` below `dest` if it is an archive; whether it was one.
    pub(super) fn unpack(
        &self,
        (at, dest): (BorrowedFd<'_>, &Path),
        found: &Match,
        how: Unpack,
    ) -> Result<bool, Error> {
        let doing = |error| Error::system(format!("unpack {}", found.path.display()), error);
        if found.stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(false);
        }
        let path = PathBuf::from(proc_path(found.object.as_fd()));
        let mut file = File::open(path).map_err(doing)?;
        let packing = match layer::sniff(&mut file).map_err(doing)? {
            layer::Content::Archive(packing) => packing,
            layer::Content::Other if how == Unpack::Always => {
                let text = format!("unpack {}: it is no tar archive", found.path.display());
                return Err(
                    Error::new(Kind::Invalid, text).hint("tar, tar.gz, tar.bz2, tar.xz and tar.zst are")
                );
            }
            layer::Content::Other => return Ok(false),
        };
        let into = self.directory_at(at, dest, &[]).map_err(doing)?;
        let into = root::open(&into, Path::new("/"), OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(doing)?;
        let owners = match self.rules.owner {
            Some((uid, gid)) => Ownership::Fixed(uid, gid),
            None => Ownership::of_archive(userns::owners()),
        };
        let options = layer::Unpack { owners, whiteouts: Whiteouts::Applied };
        let tar = layer::unpacked(file, packing).map_err(doing)?;
        layer::unpack(tar, Compression::None, into.as_fd(), &options)?;
        Ok(true)
    }
}

/// Takes away a file that stands where another is to be; a directory stays, and is then in the way.
fn make_room(directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn set_time(directory: &OwnedFd, name: &OsStr, mtime: Option<(i64, i64)>) -> io::Result<()> {
    let Some((seconds, nanoseconds)) = mtime else { return Ok(()) };
    let time = TimeSpec::new(seconds, nanoseconds);
    Ok(utimensat(directory, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}
