//! Loading a filter.

use std::io;
use std::os::fd::OwnedFd;

use super::{check, owned};

/// One instruction, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Loads a filter, whose instructions are (code, jt, jf, k). With `SECCOMP_FILTER_FLAG_NEW_LISTENER` gives the listener.
pub fn load(instructions: &[(u16, u8, u8, u32)], flags: u64) -> io::Result<Option<OwnedFd>> {
    let filter: Vec<Instruction> =
        instructions.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect();
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = Program { len, filter: filter.as_ptr() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel reads `len` instructions behind `filter`, which outlives the call, and checks the program itself.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    match flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER {
        0 => check(result).map(|_| None),
        _ => owned(result).map(Some),
    }
}
