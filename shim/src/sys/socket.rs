//! Unix sockets: listening, connecting, and descriptors sent over them.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::cmsg_space;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind,
    connect, getsockopt, listen, recvmsg, socket,
};

/// The longest path a unix socket can have, without the NUL at its end.
pub(crate) const PATH_MAX: usize = 107;

fn stream() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

/// A listening, non-blocking socket at `path`.
pub(crate) fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let fd = stream()?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

/// A non-blocking connection to `path`; connecting itself never waits for the peer on a unix socket.
pub(crate) fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let fd = stream()?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// The next connection waiting at `listener`, if there is one.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
        // SAFETY: accept4 returned a new descriptor that nothing else owns.
        Ok(raw) => Ok(Some(unsafe { OwnedFd::from_raw_fd(raw) })),
        Err(nix::errno::Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The user id of the process at the other end.
pub(crate) fn peer_uid(fd: impl AsFd) -> io::Result<u32> {
    Ok(getsockopt(&fd.as_fd(), PeerCredentials)?.uid())
}

/// The first descriptor in the message waiting at `fd`; any more are closed.
pub(crate) fn receive_fd(fd: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut bytes = [0_u8; 4096];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut control = cmsg_space!([RawFd; 4]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<UnixAddr>(fd.as_fd().as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut received = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = part {
            // SAFETY: the kernel has just installed these descriptors for this message; nothing else owns them.
            received.extend(numbers.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    Ok(received.into_iter().next())
}
