//! The two uses of bpf(2) that put a device program on a cgroup.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;

/// Allows everything: `r0 = 1; exit`.
const PROGRAM: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// The beginnings of `union bpf_attr`; the kernel takes a shorter one as zeroes.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Attaches a program beside, above and below which no other may be.
pub(crate) fn attach_alone(cgroup: &File) -> io::Result<()> {
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: 2,
        instructions: PROGRAM.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
    };
    let raw = i32::try_from(bpf(PROG_LOAD, &load)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor and nobody else holds it.
    let program = unsafe { OwnedFd::from_raw_fd(raw) };
    let attach = Attach {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: ATTACH_CGROUP_DEVICE,
        flags: 0,
    };
    bpf(PROG_ATTACH, &attach).map(drop)
}

fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is plain memory of exactly the size given, and what it points to are constants: both outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
