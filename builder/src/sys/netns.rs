//! Network namespaces of our own.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Makes a network namespace with its loopback up; it lives as long as the descriptor or a process in it.
///
/// # Errors
/// The kernel's.
pub fn create() -> io::Result<File> {
    // A thread of its own: the others stay in their network.
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                raise_loopback()?;
                File::open("/proc/thread-self/ns/net")
            })
            .join()
            .map_err(|_| io::Error::from_raw_os_error(libc::EIO))?
    })
}

fn raise_loopback() -> io::Result<()> {
    let any: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an all-zero `ifreq` is a valid value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // IFF_UP is 1, and a new loopback has no other flag that could be set.
    request.ifr_ifru.ifru_flags = 1;
    // SAFETY: a live socket and an initialised `ifreq` that outlives the call.
    let raised = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if raised < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
