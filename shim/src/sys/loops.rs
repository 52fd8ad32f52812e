//! Loop devices: a file as a block device (Linux 5.8: `LOOP_CONFIGURE` does it in one step).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::fd;

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// Most devices that others take away under our hands before we give up.
const TRIES: u32 = 100;

/// struct loop_config of linux/loop.h, with struct loop_info64 inside.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    ids_and_sizes: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [u8; 128],
    key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// How a file is used as a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Use {
    pub(crate) read_only: bool,
    pub(crate) direct: bool,
}

/// A device that is free again when nobody has it open or mounted.
pub(crate) struct Device {
    pub(crate) path: PathBuf,
    /// Until it is mounted.
    _open: OwnedFd,
}

/// Makes `file` a block device.
pub(crate) fn attach(file: &Path, wanted: Use) -> io::Result<Device> {
    let access = if wanted.read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
    let file = fd::open_path(file, access)?;
    let control = fd::open_path(Path::new("/dev/loop-control"), OFlag::O_RDWR)?;
    for _ in 0..TRIES {
        // SAFETY: the descriptor is open and LOOP_CTL_GET_FREE takes nothing more.
        let number = Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = fd::open_path(&path, access)?;
        match configure(&device, &file, wanted) {
            Ok(()) => return Ok(Device { path, _open: device }),
            Err(Errno::EBUSY) => {} // somebody else was told of the same one
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EBUSY.into())
}

fn configure(device: &OwnedFd, file: &OwnedFd, wanted: Use) -> nix::Result<()> {
    let mut flags = LO_FLAGS_AUTOCLEAR;
    if wanted.read_only {
        flags |= LO_FLAGS_READ_ONLY;
    }
    if wanted.direct {
        flags |= LO_FLAGS_DIRECT_IO;
    }
    let config = Config {
        fd: file.as_raw_fd().cast_unsigned(),
        block_size: 0,
        ids_and_sizes: [0; 5],
        number: 0,
        encryption: [0; 2],
        flags,
        names: [0; 128],
        key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the descriptors are open for the call and LOOP_CONFIGURE reads one loop_config from a live reference.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_the_size_of_the_kernels() {
        assert_eq!(size_of::<Config>(), 8 + 232 + 64);
    }
}
