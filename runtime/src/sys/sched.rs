//! Scheduling policy, I/O priority, processors.

use std::io;

use super::check;

/// struct sched_attr of linux/sched/types.h.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct Attr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    /// What is below is of the second version; the flags `SCHED_FLAG_UTIL_CLAMP_*` say that it is there (Linux 5.3).
    pub util_min: u32,
    pub util_max: u32,
}

/// Sets the caller's policy with all its numbers.
pub fn set_attr(attr: Attr) -> io::Result<()> {
    let attr = Attr { size: if attr.flags & UTIL_CLAMP == 0 { FIRST } else { SECOND }, ..attr };
    // SAFETY: the kernel reads `size` bytes of `attr`, which are its own or fewer.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

const UTIL_CLAMP: u64 = 0x60;
const FIRST: u32 = 48;
const SECOND: u32 = 56;
const _: () = assert!(size_of::<Attr>() == SECOND as usize);

/// Sets the caller's I/O priority: class and level in one number.
pub fn set_io_priority(value: i32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) }).map(drop)
}

/// Lets a process run on these processors only; 0 is the caller. The kernel leaves out the ones that its cpuset has not.
pub fn set_affinity(pid: i32, mask: &[u64]) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of_val(mask)` bytes.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) };
    check(result).map(drop)
}
