//! Making one file system object and giving it its attributes, by directory descriptor and name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, makedev, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, mkfifoat, symlinkat};

use super::archive::{Archive, Kind as MemberKind, Member};
use super::unpack::{Notes, Ownership, Whiteouts};
use super::{tree, whiteout};
use crate::error::{Error, Kind};
use crate::sys::{root, xattr};

/// Year 9999: what every file system and every program can show.
const LATEST: i64 = 253_402_300_799;

/// A name in a directory.
pub(super) struct Place<'a, D> {
    pub(super) at: &'a D,
    pub(super) name: &'a OsStr,
}

/// Owner, mode and time, judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    owner: Option<(u32, u32)>,
    mode: Mode,
    time: TimeSpec,
}

/// Whether the object was made, or why not.
pub(super) enum Made {
    Yes,
    No(&'static str),
}

impl Attributes {
    pub(super) fn of(member: &Member, owners: Ownership) -> Result<Self, Error> {
        let (uid, gid) = (id("uid", member.uid)?, id("gid", member.gid)?);
        let (seconds, nanoseconds) = member.mtime;
        let clamped = seconds.clamp(0, LATEST);
        let nanoseconds = if clamped == seconds { nanoseconds } else { 0 };
        Ok(Self {
            owner: match owners {
                Ownership::Named => Some((uid, gid)),
                Ownership::Own => None,
                Ownership::Fixed(uid, gid) => Some((uid, gid)),
            },
            mode: Mode::from_bits_truncate(member.mode),
            time: TimeSpec::new(clamped, nanoseconds.into()),
        })
    }

    fn uid(&self) -> Option<Uid> {
        self.owner.map(|(uid, _)| Uid::from_raw(uid))
    }

    fn gid(&self) -> Option<Gid> {
        self.owner.map(|(_, gid)| Gid::from_raw(gid))
    }
}

/// 2^32-1 means "leave it" to chown; more would wrap around to somebody else, root among them.
fn id(what: &str, number: i128) -> Result<u32, Error> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX).ok_or_else(|| {
        Error::new(Kind::Attack, format!("its {what} {number} is not one that a file can have"))
    })
}

/// Owners fail where the user namespace has no such id.
pub(super) fn owner_error(error: io::Error, attributes: &Attributes) -> Error {
    match (error.raw_os_error(), attributes.owner) {
        (Some(libc::EINVAL), Some((uid, gid))) => {
            let text = format!("give it to {uid}:{gid}: no such id in this user namespace");
            Error::new(Kind::Unsupported, text)
                .hint("widen this user's ranges in /etc/subuid and /etc/subgid")
        }
        _ => Error::system("set owner, mode and time", error),
    }
}

/// Tries to make it; where something is in the way, removes that and tries once more.
fn replacing<D: AsFd, T>(place: &Place<'_, D>, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            root::remove(place.at, place.name)?;
            make()
        }
        made => made,
    }
}

/// A directory that is there already stays, with what is in it. One that takes the place of a whiteout hides what the
/// lower layers have there.
pub(super) fn make_directory<D: AsFd>(place: &Place<'_, D>, whiteouts: Whiteouts) -> io::Result<()> {
    match mkdirat(place.at, place.name, Mode::S_IRWXU) {
        Ok(()) => return Ok(()),
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let found = tree::stat(place.at, place.name)?;
    if found.is_some_and(|found| tree::kind(&found) == libc::S_IFDIR) {
        return Ok(());
    }
    root::remove(place.at, place.name)?;
    mkdirat(place.at, place.name, Mode::S_IRWXU)?;
    match (whiteouts, found) {
        (Whiteouts::Overlay(attributes), Some(found)) if tree::is_whiteout(&found) => {
            whiteout::mark_opaque(place.at, place.name, attributes)
        }
        _ => Ok(()),
    }
}

pub(super) fn make_file<D: AsFd>(place: &Place<'_, D>) -> io::Result<File> {
    replacing(place, || root::create_child(place.at, place.name, 0o600)).map(File::from)
}

pub(super) fn make_symlink<D: AsFd>(place: &Place<'_, D>, target: &OsStr) -> io::Result<()> {
    replacing(place, || Ok(symlinkat(target, place.at, place.name)?))
}

/// A hard link; to itself it is nothing, and what is in the way goes only once the target is known to be there.
pub(super) fn link<D: AsFd>(place: &Place<'_, D>, at: impl AsFd, target: &OsStr) -> io::Result<()> {
    let linked = || linkat(&at, target, place.at, place.name, AtFlags::empty()).map_err(io::Error::from);
    match linked() {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            let same = |a: nix::sys::stat::FileStat, b: nix::sys::stat::FileStat| {
                (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
            };
            match (tree::stat(&at, target)?, tree::stat(place.at, place.name)?) {
                (Some(a), Some(b)) if same(a, b) => Ok(()),
                (None, _) => Err(Errno::ENOENT.into()),
                _ => replacing(place, linked),
            }
        }
        done => done,
    }
}

pub(super) fn make_special<D: AsFd>(place: &Place<'_, D>, kind: &MemberKind) -> io::Result<Made> {
    let node = |flag, major: u32, minor: u32| {
        let device = makedev(u64::from(major), u64::from(minor));
        replacing(place, || Ok(mknodat(place.at, place.name, flag, Mode::S_IRUSR | Mode::S_IWUSR, device)?))
    };
    let made = match kind {
        MemberKind::Fifo => {
            replacing(place, || Ok(mkfifoat(place.at, place.name, Mode::S_IRUSR | Mode::S_IWUSR)?))
        }
        // As a file of an overlay's lower directory it would delete, which only `.wh.` may.
        MemberKind::Character(0, 0) => {
            return Ok(Made::No("a character device 0:0 is an overlay's whiteout"));
        }
        MemberKind::Character(major, minor) => node(SFlag::S_IFCHR, *major, *minor),
        MemberKind::Block(major, minor) => node(SFlag::S_IFBLK, *major, *minor),
        _ => return Err(Errno::EINVAL.into()),
    };
    match made {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            Ok(Made::No("this user may not make devices"))
        }
        made => made.map(|()| Made::Yes),
    }
}

/// Writes the content where it has data; the rest stays a hole.
pub(super) fn fill<R: Read>(
    mut file: &File,
    archive: &mut Archive<R>,
    (size, segments): (u64, &[(u64, u64)]),
    buffer: &mut [u8],
) -> io::Result<()> {
    for (offset, length) in segments {
        if *offset > 0 {
            file.seek(SeekFrom::Start(*offset))?;
        }
        let mut rest = *length;
        while rest > 0 {
            let room = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
            let count = archive.read_content(buffer.get_mut(..room).unwrap_or_default())?;
            file.write_all(buffer.get(..count).unwrap_or_default())?;
            rest -= count as u64;
        }
    }
    if segments.last().is_none_or(|(offset, length)| offset + length < size) {
        file.set_len(size)?;
    }
    Ok(())
}

/// The owner first: chown clears the set-id bits.
pub(super) fn set_file(file: &File, attributes: &Attributes) -> io::Result<()> {
    fchown(file, attributes.uid(), attributes.gid())?;
    Ok(fchmod(file, attributes.mode)?)
}

/// Last: setting extended attributes after it would not change it, writing would.
pub(super) fn set_file_times(file: &File, attributes: &Attributes) -> io::Result<()> {
    Ok(futimens(file, &attributes.time, &attributes.time)?)
}

pub(super) fn set_link<D: AsFd>(place: &Place<'_, D>, attributes: &Attributes) -> io::Result<()> {
    fchownat(place.at, place.name, attributes.uid(), attributes.gid(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    set_times(place, attributes)
}

/// The object is one that we made a moment ago and nobody else writes here, so that chmod's following is harmless.
pub(super) fn set_special<D: AsFd>(place: &Place<'_, D>, attributes: &Attributes) -> io::Result<()> {
    fchownat(place.at, place.name, attributes.uid(), attributes.gid(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    fchmodat(place.at, place.name, attributes.mode, FchmodatFlags::FollowSymlink)?;
    set_times(place, attributes)
}

fn set_times<D: AsFd>(place: &Place<'_, D>, attributes: &Attributes) -> io::Result<()> {
    let flag = UtimensatFlags::NoFollowSymlink;
    Ok(utimensat(place.at, place.name, &attributes.time, &attributes.time, flag)?)
}

/// A path that is no directory any more is left alone.
pub(super) fn set_directory(tree: BorrowedFd<'_>, path: &Path, attributes: &Attributes) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let directory = match root::open(tree, path, flags) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {
            return Ok(());
        }
        opened => opened?,
    };
    fchown(&directory, attributes.uid(), attributes.gid())?;
    fchmod(&directory, attributes.mode)?;
    Ok(futimens(&directory, &attributes.time, &attributes.time)?)
}

/// `user.*` and file capabilities pass; an overlay's own attributes and those of the host's security modules never do.
/// One that the file system does not take is left out with a note.
pub(super) fn set_xattrs<D: AsFd>(place: &Place<'_, D>, member: &Member, notes: &mut Notes) {
    for (name, value) in &member.xattrs {
        let passes = name == b"security.capability"
            || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.contains(&0));
        if !passes {
            continue;
        }
        let key = OsString::from_vec(name.clone());
        if let Err(error) = xattr::set(place.at, place.name, &key, value) {
            let path = String::from_utf8_lossy(&member.path);
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            notes.push(format!(
                "left out {} of {}: {}",
                OsStr::from_bytes(name).display(),
                path.escape_debug(),
                errno.desc()
            ));
        }
    }
}
