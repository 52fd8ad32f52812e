//! What a process sets for itself or for its child: identity, limits, signals.

use std::io;

use super::check;

/// Real, effective, saved and file-system group. Straight to the kernel: the C library would look for threads to tell.
pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Real, effective, saved and file-system user.
pub fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Supplementary groups.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads exactly `len` ids.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// One resource limit of a process; 0 is the caller.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let null = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: the kernel reads one rlimit64, always of 64-bit fields, and writes nothing through null.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, null) }).map(drop)
}

/// The execution domain.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: one integer.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}

/// Gives a signal its default effect again.
pub fn default_signal(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_DFL is no function, nothing of ours can be called by it.
    match unsafe { libc::signal(signal, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
