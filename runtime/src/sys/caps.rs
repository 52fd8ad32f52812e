//! Capability sets of the calling process, 64 bits each.

use std::io;

use super::check;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets effective, permitted and inheritable.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Half {
        effective: low(effective >> shift),
        permitted: low(permitted >> shift),
        inheritable: low(inheritable >> shift),
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two halves; both outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) }).map(drop)
}

fn low(bits: u64) -> u32 {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Takes one out of the bounding set for good. EINVAL: this kernel does not know it.
pub fn drop_from_bounding(cap: u8) -> io::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(cap), 0)
}

/// Empties the ambient set.
pub fn clear_ambient() -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs().into(), 0)
}

/// Adds one to the ambient set.
pub fn raise_ambient(cap: u8) -> io::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE.unsigned_abs().into(), cap.into())
}

fn prctl(option: i32, first: u64, second: u64) -> io::Result<()> {
    // SAFETY: these options take integers only.
    let result = unsafe { libc::prctl(option, first, second, 0u64, 0u64) };
    check(result.into()).map(drop)
}
