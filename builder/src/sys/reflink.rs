//! Copies of a file's bytes: shared blocks where the file system can, in the kernel where it cannot.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

/// Up to this size copying is as fast as asking for shared blocks.
const SMALL: usize = 64 << 10;

/// Fills `to`, empty until now, with the bytes of `from`, of which there were `size` when it was last looked at.
///
/// # Errors
/// The kernel's.
pub fn copy(from: &File, to: &File, size: u64) -> io::Result<()> {
    let (mut from, mut to) = (from, to);
    if size < SMALL as u64 {
        let mut buffer = [0; SMALL];
        let count = from.read(&mut buffer)?;
        to.write_all(buffer.get(..count).unwrap_or_default())?;
        if count as u64 == size {
            return Ok(());
        }
    } else if clone(from, to).is_ok() {
        return Ok(());
    }
    // std uses copy_file_range and falls back to read and write by itself.
    io::copy(&mut from, &mut to).map(drop)
}

fn clone(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: two live descriptors; FICLONE takes the source's number as its argument.
    let cloned = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE as _, from.as_raw_fd()) };
    if cloned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
