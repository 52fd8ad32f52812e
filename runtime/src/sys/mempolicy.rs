//! The NUMA memory policy.

use std::io;

use super::check;

const WORDS: usize = 1024 / libc::c_ulong::BITS as usize;

/// The caller's policy: a mode with its flags, and the nodes that it is about. A node from 1024 up is EINVAL, as no kernel has it.
pub fn set(mode: i32, nodes: &[u32]) -> io::Result<()> {
    let mut mask = [0; WORDS];
    for node in nodes {
        let word = usize::try_from(node / libc::c_ulong::BITS).ok().and_then(|word| mask.get_mut(word));
        let word: &mut libc::c_ulong = word.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        *word |= 1 << (node % libc::c_ulong::BITS);
    }
    // The kernel takes one off.
    let bits = size_of_val(&mask) * 8 + 1;
    // SAFETY: the kernel reads `bits` - 1 bits, which is the size of `mask`.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask.as_ptr(), bits) }).map(drop)
}
