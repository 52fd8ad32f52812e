//! `execve`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::missing::is_missing;

/// Becomes another program; returns only with the reason why not.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with null and point to NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// The same with the program's open file.
pub fn execve_file(program: impl AsFd, args: &[CString], env: &[CString]) -> io::Error {
    let (words, variables) = (pointers(args), pointers(env));
    let (fd, path) = (program.as_fd().as_raw_fd(), c"".as_ptr());
    // SAFETY: as above; the path is an empty literal.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd, path, words.as_ptr(), variables.as_ptr(), libc::AT_EMPTY_PATH)
    };
    let source = io::Error::last_os_error();
    match (is_missing(&source, libc::SYS_execveat), CString::new(format!("/proc/self/fd/{fd}"))) {
        // By the link to it: the kernel has opened it by the time that execve closes the descriptor.
        (true, Ok(link)) => execve(&link, args, env),
        _ => source,
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
