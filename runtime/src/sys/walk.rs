//! What `openat2` does (Linux 5.6), step by step, for kernels and seccomp filters without it.
//!
//! Each step opens one name in a directory that is open, without following it. A link is read and followed here, and `..` goes
//! back to the directory that the walk came through: nothing that is renamed or replaced meanwhile leads out of the root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// What a walk may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Links end in the root; those of proc that lead to somebody's files are refused.
    InRoot,
    /// No link.
    Plain,
    /// On one mount: the root's.
    OneMount,
    /// The root is the caller's own, and every link is followed.
    Own,
}

/// The kernel's own limit for links in one path (MAXSYMLINKS).
const MOST_LINKS: usize = 40;
const PROC_ROOT_INODE: u64 = 1;

/// Opens `path` in `root`.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlag, rule: Rule) -> io::Result<OwnedFd> {
    let mut rest = parts(path);
    let mut dirs: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            // Of the root the root itself.
            dirs.pop();
            continue;
        }
        let here = dirs.last().map_or(root, AsFd::as_fd);
        let is_last = rest.is_empty();
        let found = step(here, &name, OFlag::O_PATH)?;
        if is_link(&found)? && !(is_last && flags.contains(OFlag::O_NOFOLLOW)) {
            links += 1;
            let target = match follow(here, &found, rule)? {
                _ if links > MOST_LINKS => return Err(Errno::ELOOP.into()),
                Some(target) => target,
                None => {
                    dirs.push(openat(
                        here,
                        name.as_os_str(),
                        OFlag::O_PATH | OFlag::O_CLOEXEC,
                        Mode::empty(),
                    )?);
                    continue;
                }
            };
            if target.is_absolute() {
                dirs.clear();
            }
            parts(&target).into_iter().rev().for_each(|part| rest.push_front(part));
        } else if is_last {
            match finish((here, &name), found, flags) {
                // It has become a link meanwhile.
                Err(source) if source.raw_os_error() == Some(libc::ELOOP) && links < MOST_LINKS => {
                    links += 1;
                    rest.push_front(name);
                }
                opened => return on_mount(root, opened?, rule),
            }
        } else {
            dirs.push(on_mount(root, found, rule)?);
        }
    }
    let here = dirs.last().map_or(root, AsFd::as_fd);
    Ok(openat(here, ".", flags | OFlag::O_CLOEXEC, Mode::empty())?)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

fn step(dir: BorrowedFd<'_>, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    openat(dir, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn finish((dir, name): (BorrowedFd<'_>, &OsStr), found: OwnedFd, flags: OFlag) -> io::Result<OwnedFd> {
    match flags.contains(OFlag::O_PATH) && !flags.contains(OFlag::O_DIRECTORY) {
        true => Ok(found),
        false => Ok(step(dir, name, flags)?),
    }
}

fn is_link(found: &OwnedFd) -> io::Result<bool> {
    let mode = fstatat(found, "", AtFlags::AT_EMPTY_PATH)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFLNK)
}

/// Where a link leads; None where only the kernel knows.
fn follow(dir: BorrowedFd<'_>, link: &OwnedFd, rule: Rule) -> io::Result<Option<PathBuf>> {
    let is_proc = |fd: BorrowedFd<'_>| fstatfs(fd).map(|found| found.filesystem_type() == PROC_SUPER_MAGIC);
    // `self`, `mounts` and their like in proc's own root are words; deeper down a link may stand for an open file.
    let magic = is_proc(link.as_fd())?
        && !(is_proc(dir)? && fstatat(dir, "", AtFlags::AT_EMPTY_PATH)?.st_ino == PROC_ROOT_INODE);
    match (rule, magic) {
        (Rule::Plain, _) | (Rule::InRoot | Rule::OneMount, true) => Err(Errno::ELOOP.into()),
        (Rule::Own, true) => Ok(None),
        _ => {
            let target = PathBuf::from(readlinkat(link, "")?);
            match rule == Rule::OneMount && target.is_absolute() {
                true => Err(Errno::EXDEV.into()),
                false => Ok(Some(target)),
            }
        }
    }
}

/// What is mounted over a part of proc is none of it (CVE-2025-52881).
fn on_mount(root: BorrowedFd<'_>, found: OwnedFd, rule: Rule) -> io::Result<OwnedFd> {
    match rule != Rule::OneMount || mount_id(root, &found)? == mount_id(root, root)? {
        true => Ok(found),
        false => Err(Errno::EXDEV.into()),
    }
}

/// By the kernel's own record of an open file, in the proc that `root` is (proc(5), "fdinfo").
pub(super) fn mount_id(root: BorrowedFd<'_>, of: impl AsFd) -> io::Result<u64> {
    let record = PathBuf::from(format!("self/fdinfo/{}", of.as_fd().as_raw_fd()));
    let open = openat(root, &record, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    std::fs::File::from(open).take(1 << 12).read_to_string(&mut text)?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok());
    id.ok_or_else(|| Errno::EXDEV.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::path;
    use std::os::unix::fs::symlink;

    type Seen = Result<(u64, u64), Option<i32>>;

    fn seen(opened: io::Result<OwnedFd>) -> Seen {
        let opened = opened.map_err(|source| source.raw_os_error())?;
        let found = fstatat(&opened, "", AtFlags::AT_EMPTY_PATH).unwrap();
        Ok((found.st_dev, found.st_ino))
    }

    #[test]
    fn the_walk_ends_where_the_kernels_ends() {
        let top = std::env::temp_dir().join(format!("walk-{}", std::process::id()));
        let root = top.join("root");
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::write(root.join("a/f"), "").unwrap();
        std::fs::write(top.join("outside"), "").unwrap();
        for (at, to) in [
            ("out", "../outside"),
            ("top", "/"),
            ("deep", "/a/b/../b/c"),
            ("a/up", "../../.."),
            ("loop", "loop"),
            ("gone", "nowhere/at/all"),
            ("chain", "deep/../../up/a"),
            ("file", "/a/f"),
        ] {
            symlink(to, root.join(at)).unwrap();
        }
        let open =
            |path: &str| nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        let fd = open(root.to_str().unwrap());
        let paths = "/ . .. a a/b/c a/../a/f /a/b/../../../../a out top deep a/up a/up/a/f loop gone chain file \
                     file/x a/f/x nowhere a/nowhere/x top/top/deep/.. ./a/./b";
        for at in paths.split(' ').map(Path::new) {
            for flags in [
                OFlag::O_PATH,
                OFlag::O_RDONLY,
                OFlag::O_PATH | OFlag::O_DIRECTORY,
                OFlag::O_PATH | OFlag::O_NOFOLLOW,
            ] {
                let (ours, kernels) =
                    (self::open(fd.as_fd(), at, flags, Rule::InRoot), path::open_in(&fd, at, flags));
                assert_eq!(seen(ours), seen(kernels), "{} in a root with {flags:?}", at.display());
            }
            let (ours, kernels) = (
                self::open(fd.as_fd(), at, OFlag::O_PATH, Rule::Plain),
                path::open_plain_in(&fd, at, OFlag::O_PATH),
            );
            assert_eq!(seen(ours), seen(kernels), "{} without links", at.display());
        }
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn links_of_proc_that_are_no_words_are_refused() {
        let proc = nix::fcntl::open("/proc", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
        for at in ["self/exe", "self/fd/0", "self/root/etc", "self/cwd", "thread-self/ns/mnt"] {
            for rule in [Rule::InRoot, Rule::OneMount] {
                let opened = open(proc.as_fd(), Path::new(at), OFlag::O_PATH, rule);
                assert_eq!(seen(opened), Err(Some(libc::ELOOP)), "{at}");
            }
        }
        for at in ["self/status", "mounts", "sys/kernel/hostname"] {
            let ours = open(proc.as_fd(), Path::new(at), OFlag::O_PATH, Rule::OneMount);
            let kernels = path::open_on(&proc, Path::new(at), OFlag::O_PATH);
            assert_eq!(seen(ours).is_ok(), seen(kernels).is_ok(), "{at}");
        }
    }
}
