//! Copies of a file's bytes: shared blocks where the file system can, in the kernel where it cannot.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Fills `to`, empty until now, with the bytes of `from`.
///
/// # Errors
/// The kernel's.
pub fn copy(from: &File, to: &File) -> io::Result<u64> {
    if clone(from, to).is_ok() {
        return Ok(from.metadata()?.len());
    }
    // std uses copy_file_range and falls back to read and write by itself.
    io::copy(&mut &*from, &mut &*to)
}

fn clone(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: two live descriptors; FICLONE takes the source's number as its argument.
    let cloned = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE as _, from.as_raw_fd()) };
    if cloned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
