//! Copies of a file's bytes: shared blocks where the file system can, in the kernel where it cannot.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
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
        // Not zeroed: of most files that would take as long as the copy.
        let mut buffer = [MaybeUninit::<u8>::uninit(); SMALL];
        // SAFETY: a live descriptor, and room for SMALL bytes that nobody reads before the kernel has written them.
        let count = unsafe { libc::read(from.as_raw_fd(), buffer.as_mut_ptr().cast(), SMALL) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has written so many bytes, at most SMALL of them.
        to.write_all(unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast(), count) })?;
        if count as u64 == size {
            return Ok(());
        }
    } else if clone(from, to).is_ok() {
        return Ok(());
    }
    // std uses copy_file_range and falls back to read and write by itself.
    io::copy(&mut from, &mut to).map(drop)
}

/// Writes all of `from`, which has `size` bytes, where `to` is. The kernel shares blocks where both are at one's beginning and their file
/// system can, and copies otherwise (std uses copy_file_range, and what there is without it).
///
/// # Errors
/// The kernel's; an end that comes too early.
pub fn append(from: &File, mut to: &File, size: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.take(size), &mut to)?;
    if copied == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn clone(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: two live descriptors; FICLONE takes the source's number as its argument.
    let cloned = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE as _, from.as_raw_fd()) };
    if cloned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
