//! Descriptors: closing, duplicating, and sending them.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::stat::Mode;

use super::check;
use super::missing::{as_enosys, is_missing};

/// Closes every descriptor from `first` to `last`. ENOSYS: the kernel is older than 5.9, or a filter refuses.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    range(first, last, 0).map_err(|source| as_enosys(source, libc::SYS_close_range))
}

/// What is left then: one by one, all from `first` on that are not in `keep`, as the caller's own /proc lists them.
pub fn close_listed(proc: impl AsFd, first: u32, keep: &[RawFd]) -> io::Result<()> {
    for number in listed(proc, first, u32::MAX)?.into_iter().filter(|number| !keep.contains(number)) {
        // SAFETY: as for a range. The listing's own descriptor is closed already, which is EBADF.
        let _ = unsafe { libc::close(number) };
    }
    Ok(())
}

/// Lets execve close every descriptor from `first` to `last`.
pub fn close_range_on_exec(first: u32, last: u32) -> io::Result<()> {
    match range(first, last, libc::CLOSE_RANGE_CLOEXEC) {
        // EINVAL: the call is older than this flag (Linux 5.11).
        Err(source)
            if source.raw_os_error() == Some(libc::EINVAL) || is_missing(&source, libc::SYS_close_range) =>
        {
            let proc = nix::fcntl::open("/proc", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
            for number in listed(proc, first, last)? {
                // SAFETY: F_SETFD takes an integer; EBADF is the listing's own.
                let _ = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
            Ok(())
        }
        other => other,
    }
}

fn range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: three integers. Closing is only asked for by a fresh child, whose copies of the parent's owners never run.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// The open ones among these numbers.
fn listed(proc: impl AsFd, first: u32, last: u32) -> io::Result<Vec<RawFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(proc, "self/fd", flags, Mode::empty())?;
    let mut numbers = Vec::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok());
        numbers.extend(name.filter(|number| (first..=last).contains(number)).map(u32::cast_signed));
    }
    Ok(numbers)
}

/// Lets a descriptor survive execve. EBADF where it is not open.
pub fn keep(number: u32) -> io::Result<()> {
    // SAFETY: F_SETFD takes an integer.
    check(unsafe { libc::fcntl(number.cast_signed(), libc::F_SETFD, 0) }.into()).map(drop)
}

/// Whether this number is an open descriptor.
pub fn is_open(number: u32) -> bool {
    // SAFETY: F_GETFD takes no argument.
    unsafe { libc::fcntl(number.cast_signed(), libc::F_GETFD) != -1 }
}

/// Makes `number` (one of 0, 1, 2) another name of the descriptor, one that survives execve.
pub fn replace_stdio(fd: impl AsFd, number: RawFd) -> io::Result<()> {
    // SAFETY: two integers; the standard streams have no owner in this program.
    check(unsafe { libc::dup3(fd.as_fd().as_raw_fd(), number, 0) }.into()).map(drop)
}

/// A copy above the ones that the container is given.
pub fn move_above(fd: OwnedFd, lowest: u32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    super::owned(copy.into())
}

/// Takes over a descriptor that the caller was started with. None where the number is not open.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD takes no argument.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
    // SAFETY: it is open, and descriptors that came with the program have no other owner.
    is_open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends one message, with a descriptor if there is one.
pub fn send(socket: impl AsFd, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let raw = fd.map(|fd| [fd.as_raw_fd()]);
    let rights = raw.as_ref().map(|raw| ControlMessage::ScmRights(raw));
    let rights = rights.as_slice();
    let message = [IoSlice::new(message)];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &message, rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one message: its length, and the descriptor that came along.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let socket = socket.as_fd().as_raw_fd();
    let received = loop {
        match recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut fd = None;
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(rights) = control {
            for raw in rights {
                // SAFETY: the kernel has just installed this descriptor for us alone.
                fd = Some(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
    }
    Ok((received.bytes, fd))
}
