//! Removing a tree, however deep it is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::root::{names, open_child};

/// So many directories on the way down are held open. Of one below that, what is in it is moved up before it is removed.
const HELD: usize = 64;

/// A directory that is being emptied.
struct Level {
    name: OsString,
    directory: OwnedFd,
    rest: Vec<OsString>,
    /// Number of the next name for what is moved up to here.
    next: u64,
}

/// Removes a child and everything below it; a child that is not there is no error. Neither the stack nor the number of
/// descriptors grows with the depth, which a step or a stranger's archive chooses.
///
/// # Errors
/// The kernel's.
pub fn remove(at: impl AsFd, name: &OsStr) -> io::Result<()> {
    let at = at.as_fd();
    let mut way: Vec<Level> = unlink(at, name)?.into_iter().collect();
    while let Some(level) = way.last_mut() {
        let Some(child) = level.rest.pop() else {
            let done = way.pop().map(|level| level.name).unwrap_or_default();
            remove_directory(way.last().map_or(at, |above| above.directory.as_fd()), &done)?;
            continue;
        };
        let Some(mut inside) = unlink(level.directory.as_fd(), &child)? else { continue };
        let is_raised = way.len() >= HELD && raise(&mut inside, way.last_mut())?;
        if is_raised {
            remove_directory(way.last().map_or(at, |above| above.directory.as_fd()), &child)?;
        } else {
            way.push(inside);
        }
    }
    Ok(())
}

/// Removes what is no directory; else opens it.
fn unlink(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Level>> {
    match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let directory = match open_child(at, name, flags) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            fchmodat(at, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            open_child(at, name, flags)?
        }
        other => other?,
    };
    let rest = names(&directory)?;
    Ok(Some(Level { name: name.to_owned(), directory, rest, next: 0 }))
}

fn remove_directory(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(at, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes the files of `inside` and moves its directories up into `above`, to be removed there. Not so where a directory of a lower
/// layer is seen through an overlay, which moves none (EXDEV): what is in layers is not as deep as that (`root::DEEPEST`).
fn raise(inside: &mut Level, above: Option<&mut Level>) -> io::Result<bool> {
    let Some(above) = above else { return Ok(false) };
    while let Some(name) = inside.rest.last() {
        match unlinkat(&inside.directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EISDIR | Errno::EPERM) => match move_up(inside, name, above) {
                Err(error) if error.raw_os_error() == Some(libc::EXDEV) => return Ok(false),
                moved => above.rest.push(moved?),
            },
            Err(errno) => return Err(errno.into()),
        }
        inside.rest.pop();
    }
    Ok(true)
}

/// The name that it got.
fn move_up(inside: &Level, name: &OsStr, above: &mut Level) -> io::Result<OsString> {
    let mut is_open = false;
    loop {
        let new = OsString::from(format!("raised-{}", above.next));
        match renameat(&inside.directory, name, &above.directory, new.as_os_str()) {
            Ok(()) => return Ok(new),
            // The name is taken. An empty directory of that name is replaced, which is as good as removed.
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            // A directory that gets another parent is written itself.
            Err(Errno::EACCES) if !is_open => {
                fchmodat(&inside.directory, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
                is_open = true;
            }
            Err(errno) => return Err(errno.into()),
        }
        above.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::mkdirat;

    use super::super::root::open_dir;
    use super::*;

    /// A chain of directories with a file in each, deeper than any stack or table of descriptors.
    fn dig(at: &OwnedFd, depth: usize) {
        let mut at = at.try_clone().unwrap();
        for _ in 0..depth {
            for name in ["d", "raised-0", "e"] {
                mkdirat(&at, name, Mode::S_IRWXU).unwrap();
            }
            drop(super::super::root::create_child(&at, "f".as_ref(), 0o600).unwrap());
            at = open_child(&at, "d".as_ref(), OFlag::O_PATH | OFlag::O_DIRECTORY).unwrap();
        }
    }

    #[test]
    fn a_tree_of_any_depth_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let at = open_dir(place.path()).unwrap();
        fs::create_dir(place.path().join("tree")).unwrap();
        fs::create_dir(place.path().join("stays")).unwrap();
        dig(&open_child(&at, "tree".as_ref(), OFlag::O_PATH | OFlag::O_DIRECTORY).unwrap(), 12_000);
        remove(&at, "tree".as_ref()).unwrap();
        assert_eq!(names(&at).unwrap(), ["stays"]);
        remove(&at, "absent".as_ref()).unwrap();
    }
}
