//! The three uses of bpf(2) that a device filter needs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::{check, owned};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// More programs than one may be attached; each has to say yes.
const ALLOW_MULTI: u32 = 2;

/// The beginning of `union bpf_attr` for a load; the kernel takes a shorter one as zeroes.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is plain memory of exactly the size given, which outlives the call; every pointer in it is to memory
    // that the callers below keep alive across the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) })
}

/// Borrowed: an owned one would be closed before the call that takes its number.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Has the kernel check and keep a cgroup device program. Before Linux 5.11 a program counts as locked memory of its user, whose
/// limit (64 KiB of all that root's containers have) is no limit for root: where it is in the way it is lifted for the moment, since what is made
/// next inherits it.
pub fn load(program: &[u64]) -> io::Result<OwnedFd> {
    match load_once(program) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
            if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_err() {
                return Err(error);
            }
            let loaded = load_once(program);
            setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?;
            loaded
        }
        other => other,
    }
}

fn load_once(program: &[u64]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attr = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        ..Load::default()
    };
    owned(bpf(PROG_LOAD, &mut attr)?)
}

fn is_gone(opened: &io::Result<OwnedFd>) -> bool {
    opened.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT))
}

/// Puts a program in force for a cgroup and everything below it.
pub fn attach(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attr = Attach {
        target: number(cgroup.as_fd()),
        program: number(program.as_fd()),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &mut attr).map(drop)
}

/// Takes a program out of force.
pub fn detach(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attr = Attach {
        target: number(cgroup.as_fd()),
        program: number(program.as_fd()),
        kind: ATTACH_CGROUP_DEVICE,
        flags: 0,
    };
    bpf(PROG_DETACH, &mut attr).map(drop)
}

/// The device programs that are in force on this cgroup itself.
pub fn attached(cgroup: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut attr = Query {
        target: number(cgroup.as_fd()),
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr().addr() as u64,
        count: 64,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut attr)?;
    let count = usize::try_from(attr.count).unwrap_or(0);
    let open = |id: &u32| bpf(PROG_GET_FD_BY_ID, &mut ById { id: *id, ..ById::default() }).and_then(owned);
    // One may have gone since it was counted.
    let there = ids.iter().take(count).map(open).filter(|one| !is_gone(one));
    there.collect()
}
