//! Opening below a directory that plays the root: one kernel walk, no way out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

use super::missing::is_missing;
use super::walk::{self, Rule};

/// Opens `path` with `root` as its `/`: symbolic links and `..` end there, magic links are refused.
pub fn open_in(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let how = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    resolve(root, path, flags, (how, Rule::InRoot))
}

/// The same, with every symbolic link refused (ELOOP).
pub fn open_plain_in(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let how = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
    resolve(root, path, flags, (how, Rule::Plain))
}

/// Below a file system that nobody else may have mounted something into.
pub fn open_on(root: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let stay =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    resolve(root, path, flags, (stay, Rule::OneMount))
}

fn resolve(
    root: impl AsFd,
    path: &Path,
    flags: OFlag,
    (resolve, rule): (ResolveFlag, Rule),
) -> io::Result<OwnedFd> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(Mode::empty()).resolve(resolve);
    // EAGAIN: something was renamed during the walk, and the kernel does not know any more where `..` leads (openat2(2)).
    for _ in 0..128 {
        match openat2(root.as_fd(), path, how) {
            Err(nix::errno::Errno::EAGAIN) => {}
            Err(errno) if is_missing(&errno.into(), libc::SYS_openat2) => {
                return walk::open(root.as_fd(), path, flags, rule);
            }
            Err(errno) => return Err(errno.into()),
            Ok(fd) => return Ok(fd),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}
