//! Opening, reading, writing and moving bytes between descriptors.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, open, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchown, pipe2};

/// Most bytes moved by one call: a pipe's default capacity.
const CHUNK: usize = 64 * 1024;

/// A pipe; the shim's own end is non-blocking, the other one, which a container gets, is not.
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

pub(crate) fn pipe() -> io::Result<Pipe> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok(Pipe { read, write })
}

/// Sets `O_NONBLOCK` on the open file description behind `fd`.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Opens `path` with `flags`; close-on-exec is added, a missing file is made with mode 0644 under `O_CREAT`.
pub(crate) fn open_path(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    Ok(open(path, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o644))?)
}

pub(crate) fn null() -> io::Result<OwnedFd> {
    open_path(Path::new("/dev/null"), OFlag::O_RDWR)
}

/// An anonymous file for output of a length nobody knows: unlike a pipe it cannot fill up and block the writer.
pub(crate) fn scratch() -> io::Result<OwnedFd> {
    let name = CString::new("output")?;
    Ok(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?)
}

/// Everything in `file` from its beginning, at most `limit` bytes.
pub(crate) fn contents(file: &OwnedFd, limit: usize) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let file = File::from(file.try_clone()?);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(limit).min(limit);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

pub(crate) fn chown(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(fchown(fd.as_fd(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Moves what is there from one pipe to another without copying it; `Ok(0)` is the end of `from`.
pub(crate) fn splice_pipes(from: impl AsFd, to: impl AsFd) -> io::Result<usize> {
    retry(|| splice(from.as_fd(), None, to.as_fd(), None, CHUNK, SpliceFFlags::SPLICE_F_NONBLOCK))
}

/// How many bytes can be read from a pipe or a terminal without waiting; of a terminal the line discipline's alone.
pub(crate) fn pending(fd: impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call and FIONREAD writes one int to a live reference.
    Errno::result(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// A pipe, with a name or without.
pub(crate) fn is_fifo(fd: impl AsFd) -> io::Result<bool> {
    let kind = SFlag::from_bits_truncate(fstat(fd.as_fd())?.st_mode) & SFlag::S_IFMT;
    Ok(kind == SFlag::S_IFIFO)
}

/// Whether somebody has the pipe open for reading whose writing end, and nothing else, `fd` is.
pub(crate) fn has_reader(fd: impl AsFd) -> io::Result<bool> {
    let mut asked = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO)?;
    let [answer] = asked;
    Ok(!answer.revents().is_some_and(|found| found.contains(PollFlags::POLLERR)))
}

pub(crate) fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| nix::unistd::read(fd.as_fd(), buffer))
}

pub(crate) fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    retry(|| nix::unistd::write(fd.as_fd(), bytes))
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}
