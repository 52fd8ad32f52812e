//! `tmpcopyup`: a tmpfs that begins with what it covers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

/// Copies everything below `from`, with owners and modes. Whatever is a link stays one; nothing is followed.
pub fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    copy_directory(from, to, 0)
}

/// Deeper than any path that can be named in one go.
const DEEPEST: usize = 2048;

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(from, ".", flags, Mode::empty())?;
    for entry in listing.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            copy_one((from, to), entry.file_name(), depth)?;
        }
    }
    Ok(())
}

fn copy_one((from, to): (&OwnedFd, &OwnedFd), name: &std::ffi::CStr, depth: usize) -> io::Result<()> {
    let found = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(found.st_mode);
    let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
    match kind {
        SFlag::S_IFLNK => symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?,
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let inner = openat(from, name, flags, Mode::empty())?;
            copy_directory(&inner, &openat(to, name, flags, Mode::empty())?, depth + 1)?;
        }
        SFlag::S_IFREG => copy_file((from, to), name, mode)?,
        _ => mknodat(to, name, kind, mode, found.st_rdev)?,
    }
    finish(to, name, &found)
}

fn copy_file((from, to): (&OwnedFd, &OwnedFd), name: &std::ffi::CStr, mode: Mode) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let source = openat(from, name, flags | OFlag::O_NONBLOCK, Mode::empty())?;
    let target = openat(to, name, flags | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, mode)?;
    let (mut source, mut target) = (std::fs::File::from(source), std::fs::File::from(target));
    io::copy(&mut source, &mut target).map(drop)
}

fn finish(to: impl AsFd + Copy, name: &std::ffi::CStr, found: &FileStat) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    fchownat(to, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
    if !matches!(kind, SFlag::S_IFDIR | SFlag::S_IFREG) {
        return Ok(());
    }
    // Once more after the owner, whose change takes the setuid bits away.
    let open = openat(to, name, OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())?;
    Ok(fchmod(open, Mode::from_bits_truncate(found.st_mode & 0o7777))?)
}
