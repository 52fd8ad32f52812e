//! A seccomp filter that takes calls away.

use std::io;

const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const COPY: u16 = 0x07;
const SUBTRACT: u16 = 0x14;
const AND_COPY: u16 = 0x5c;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// One call that is answered by an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) number: u32,
    pub(crate) errno: u16,
    pub(crate) only: Only,
}

/// When it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    Always,
    /// Where the second argument has more bits than one.
    SeveralFlags,
}

/// From here on this process and its children get these answers to these calls of their own architecture.
pub(crate) fn refuse(calls: &[Refusal]) -> io::Result<()> {
    let rule = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let second = if cfg!(target_endian = "little") { 24 } else { 28 };
    // The number of the call comes first in what a filter sees.
    let mut rules = vec![rule(LOAD_WORD, 0, 0, 0)];
    for Refusal { number, errno, only } in calls {
        let answer = rule(RETURN, 0, 0, ERRNO | u32::from(*errno));
        match only {
            Only::Always => rules.extend([rule(JUMP_IF_EQUAL, 0, 1, *number), answer]),
            // A number has one bit at most where it has none in common with its predecessor.
            Only::SeveralFlags => rules.extend([
                rule(JUMP_IF_EQUAL, 0, 7, *number),
                rule(LOAD_WORD, 0, 0, second),
                rule(COPY, 0, 0, 0),
                rule(SUBTRACT, 0, 0, 1),
                rule(AND_COPY, 0, 0, 0),
                rule(JUMP_IF_EQUAL, 1, 0, 0),
                answer,
                rule(LOAD_WORD, 0, 0, 0),
            ]),
        }
    }
    rules.push(rule(RETURN, 0, 0, ALLOW));
    if !nix::unistd::geteuid().is_root() {
        nix::sys::prctl::set_no_new_privs()?;
    }
    let len = u16::try_from(rules.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: rules.as_mut_ptr() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel reads `len` rules behind the pointer, which outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
