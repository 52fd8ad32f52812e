//! Paths inside a foreign tree: walked once, by the kernel, which keeps them inside.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

pub use super::removal::remove;

/// So many names may lead to an object: walks recurse, and the threads of a build have a stack for that. A path that a program can
/// say (PATH_MAX) has at most twice as many.
pub const DEEPEST: usize = 1024;

/// Opens `path` as it is seen from inside `root`: links and `..` never lead out.
///
/// # Errors
/// The kernel's.
pub fn open(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    open_with(root, path, flags, ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// Opens one component of a directory, never following a link.
///
/// # Errors
/// The kernel's; `ELOOP` for a link unless `O_PATH | O_NOFOLLOW` is asked for.
pub fn open_child(at: impl AsFd, name: &OsStr, flags: OFlag) -> io::Result<OwnedFd> {
    open_with(
        at,
        Path::new(name),
        flags | OFlag::O_NOFOLLOW,
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    )
}

/// Makes a regular file that was not there.
///
/// # Errors
/// `EEXIST`; the kernel's.
pub fn create_child(at: impl AsFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::openat(at, name, flags, Mode::from_bits_truncate(mode))?)
}

fn open_with(at: impl AsFd, path: &Path, flags: OFlag, resolve: ResolveFlag) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    loop {
        // EAGAIN: a rename raced with `..`; the kernel asks for another walk.
        match openat2(at.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens a regular file inside `root` to read it; what is none is not waited for.
///
/// # Errors
/// `EINVAL` where it is no regular file; the kernel's.
pub fn open_file(root: impl AsFd, path: &Path) -> io::Result<File> {
    let file = File::from(open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(Errno::EINVAL.into()) }
}

/// Opens a directory of this machine, by the user's path.
///
/// # Errors
/// The kernel's.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// Opens the directory `path` inside `root`, making what is missing with mode 0755; of a dangling link, what it leads to.
///
/// `made` is told each directory that was made: its parent, its name, itself.
///
/// # Errors
/// The kernel's: `ENOTDIR` when a component is no directory.
pub fn make_dirs(
    root: impl AsFd,
    path: &Path,
    mut made: impl FnMut(&OwnedFd, &OsStr, &OwnedFd) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    make_dirs_in(root.as_fd(), path, &mut made)
}

type OnMade<'a> = &'a mut dyn FnMut(&OwnedFd, &OsStr, &OwnedFd) -> io::Result<()>;

/// Links end: of those that go round in circles the kernel says ELOOP, not ENOENT.
fn make_dirs_in(root: BorrowedFd<'_>, path: &Path, made: OnMade<'_>) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
    if let Ok(found) = open(root, path, directory) {
        return Ok(found);
    }
    let mut walked = std::path::PathBuf::from("/");
    let mut at = open(root, &walked, directory)?;
    for component in path.components() {
        match component {
            Component::ParentDir => walked.push(".."),
            Component::Normal(name) => walked.push(name),
            _ => continue,
        }
        at = match open(root, &walked, directory) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let name = walked.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
                match mkdirat(&at, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) => {
                        let new = open_child(&at, name, directory)?;
                        made(&at, name, &new)?;
                        new
                    }
                    Err(Errno::EEXIST) => make_dirs_in(root, &beside(&walked, &at, name)?, made)?,
                    Err(errno) => return Err(errno.into()),
                }
            }
            other => other?,
        };
    }
    Ok(at)
}

/// Where the link `path`, which is `name` in `at`, leads.
///
/// # Errors
/// `EINVAL` where it is no link; the kernel's.
pub fn beside(path: &Path, at: &OwnedFd, name: &OsStr) -> io::Result<std::path::PathBuf> {
    let target = nix::fcntl::readlinkat(at, name)?;
    Ok(path.parent().unwrap_or(Path::new("/")).join(target))
}

/// The names in a directory, sorted by their bytes.
///
/// # Errors
/// The kernel's.
pub fn names(at: impl AsFd) -> io::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir = Dir::openat(at, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a walk may go into the directory at `path`.
///
/// # Errors
/// Where what is in it has more than `DEEPEST` names on the way; the text has where the path begins.
pub fn check_depth(path: &Path) -> io::Result<()> {
    if path.iter().count() < DEEPEST {
        return Ok(());
    }
    let beginning = beginning(path.as_os_str().as_bytes());
    let text = format!("{beginning} goes more than {DEEPEST} directories deep");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// As much of a path as fits into an error of one line.
#[must_use]
pub fn beginning(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    match path.split_at_checked(SHOWN) {
        Some((beginning, [_, ..])) => format!("{}...", String::from_utf8_lossy(beginning)),
        _ => String::from_utf8_lossy(path).into_owned(),
    }
}
