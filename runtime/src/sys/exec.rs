//! `execve`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Becomes another program; returns only with the reason why not.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with null and point to NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// The same with the program's open file.
pub fn execve_file(program: impl AsFd, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    let (fd, path) = (program.as_fd().as_raw_fd(), c"".as_ptr());
    // SAFETY: as above; the path is an empty literal.
    unsafe { libc::syscall(libc::SYS_execveat, fd, path, args.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
