//! Device nodes and links below /dev.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use super::fds;
use super::place::{self, Kind};
use super::sources::Sources;
use crate::error::Error;
use crate::plan::devices::{Devices, Make, Node};
use crate::sys::mount;

/// Makes or binds all nodes, then the links.
pub fn make(devices: &Devices, root: &OwnedFd, sources: &mut Sources, proc: &OwnedFd) -> Result<(), Error> {
    let mut dirs = Dirs { root, open: Vec::new() };
    for (at, node) in devices.nodes.iter().enumerate() {
        let bound = sources.devices.get_mut(at).and_then(Option::take);
        make_node(node, devices.make, bound, &mut dirs)
            .map_err(|source| Error::system(format!("make the device {}", node.path.display()), source))?;
    }
    for (name, target) in &devices.links {
        if *name == "core" && fstatat(proc, "kcore", AtFlags::AT_SYMLINK_NOFOLLOW).is_err() {
            // A kernel without the file; runc looks too.
            continue;
        }
        link(name, target, &mut dirs)
            .map_err(|source| Error::system(format!("make the link /dev/{name}"), source))?;
    }
    dirs.open.into_iter().for_each(|(_, dir)| fds::leave(dir));
    Ok(())
}

/// Directories that were met already: nearly all nodes are in the same one.
struct Dirs<'a> {
    root: &'a OwnedFd,
    open: Vec<(OsString, OwnedFd)>,
}

impl Dirs<'_> {
    fn of(&mut self, path: &Path) -> std::io::Result<&OwnedFd> {
        let dir = path.parent().unwrap_or(Path::new("/")).as_os_str();
        let at = match self.open.iter().position(|(known, _)| known == dir) {
            Some(at) => at,
            None => {
                let place = place::open(self.root, Path::new(dir), Kind::Directory)?;
                self.open.push((dir.to_owned(), place.fd));
                self.open.len() - 1
            }
        };
        self.open.get(at).map(|(_, fd)| fd).ok_or_else(|| Errno::ENOENT.into())
    }
}

fn make_node(node: &Node, make: Make, bound: Option<OwnedFd>, dirs: &mut Dirs<'_>) -> std::io::Result<()> {
    let dir = dirs.of(&node.path)?;
    let name = node.path.file_name().unwrap_or(OsStr::new(""));
    match (make, bound) {
        (Make::Bind, Some(mount)) => {
            bind(dir, name, &mount)?;
            fds::leave(mount);
            Ok(())
        }
        _ => mknod(dir, name, node),
    }
}

fn mknod(dir: &OwnedFd, name: &OsStr, node: &Node) -> std::io::Result<()> {
    let kind = SFlag::from_bits_truncate(node.kind);
    let device = makedev(node.major.into(), node.minor.into());
    match mknodat(dir, name, kind, Mode::from_bits_truncate(node.mode), device) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return existing(dir, name, node),
        Err(errno) => return Err(errno.into()),
    }
    match (node.uid, node.gid) {
        (0, 0) => Ok(()),
        (uid, gid) => {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            Ok(fchownat(dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?)
        }
    }
}

/// The image or a mount brought something of that name along: fine if it is the device, else the host's covers it.
fn existing(dir: &OwnedFd, name: &OsStr, node: &Node) -> std::io::Result<()> {
    let found = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if is(&found, node) {
        return Ok(());
    }
    if node.kind == libc::S_IFIFO {
        return Err(Errno::EEXIST.into());
    }
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(node.path.as_os_str().as_bytes())?;
    let host = mount::clone_tree_at(&path, 0)?;
    match is(&fstatat(&host, "", AtFlags::AT_EMPTY_PATH)?, node) {
        true => bind(dir, name, &host),
        false => Err(Errno::EEXIST.into()),
    }
}

fn is(found: &FileStat, node: &Node) -> bool {
    let device = makedev(node.major.into(), node.minor.into());
    found.st_mode & libc::S_IFMT == node.kind && (node.kind == libc::S_IFIFO || found.st_rdev == device)
}

/// On a file that is opened without following a link.
fn bind(dir: &OwnedFd, name: &OsStr, mount: &OwnedFd) -> std::io::Result<()> {
    match mknodat(dir, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o666), 0) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let target = openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    mount::attach(mount, &target)?;
    fds::leave(target);
    Ok(())
}

/// What the image has under that name stays, but for ptmx, which must be the one of the container's own terminals.
fn link(name: &str, target: &str, dirs: &mut Dirs<'_>) -> std::io::Result<()> {
    let path = Path::new("/dev").join(name);
    let dir = dirs.of(&path)?;
    match symlinkat(target, dir, name) {
        Err(Errno::EEXIST) if name == "ptmx" => {
            unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?;
            Ok(symlinkat(target, dir, name)?)
        }
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
