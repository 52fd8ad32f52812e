//! Extended attributes by descriptor, `O_PATH` ones included.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The names and values of an object's attributes, sorted by name; none where the file system has none.
///
/// `at` is a directory, `name` one component in it; a symbolic link's own attributes are meant.
///
/// # Errors
/// The kernel's.
pub fn list(at: impl AsFd, name: &OsStr) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let path = child_path(at, name)?;
    let names = read(|room, size| {
        // SAFETY: the path is NUL-terminated and `room` has `size` bytes (or is null with 0, which asks for the size).
        unsafe { libc::llistxattr(path.as_ptr(), room.cast(), size) }
    });
    with_values(names, |key| {
        read(|room, size| {
            // SAFETY: path and name are NUL-terminated, `room` has `size` bytes or is null with 0.
            unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), room, size) }
        })
    })
}

/// As `list`, of the object behind a descriptor that is open for reading or writing: no path is walked.
///
/// # Errors
/// The kernel's.
pub fn list_own(fd: impl AsFd) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let fd = fd.as_fd().as_raw_fd();
    let names = read(|room, size| {
        // SAFETY: the descriptor is borrowed for the call and `room` has `size` bytes (or is null with 0).
        unsafe { libc::flistxattr(fd, room.cast(), size) }
    });
    with_values(names, |key| {
        read(|room, size| {
            // SAFETY: a live descriptor, a NUL-terminated name, and `room` has `size` bytes or is null with 0.
            unsafe { libc::fgetxattr(fd, key.as_ptr(), room, size) }
        })
    })
}

/// The values of a NUL-separated list of names, sorted by name.
fn with_values(
    names: io::Result<Vec<u8>>,
    value: impl Fn(&CStr) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let names = match names {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match value(&CString::new(name)?) {
            Ok(value) => found.push((OsString::from_vec(name.to_vec()), value)),
            Err(error) if error.raw_os_error() == Some(libc::ENODATA) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort();
    Ok(found)
}

/// The value of one attribute of a child of `at`, `None` when it has none of that name.
///
/// # Errors
/// The kernel's.
pub fn get(at: impl AsFd, name: &OsStr, key: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = child_path(at, name)?;
    let value = read(|room, size| {
        // SAFETY: path and name are NUL-terminated, `room` has `size` bytes or is null with 0.
        unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), room, size) }
    });
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets one attribute of a child of `at`, of a symbolic link itself if it is one.
///
/// # Errors
/// The kernel's.
pub fn set(at: impl AsFd, name: &OsStr, key: &OsStr, value: &[u8]) -> io::Result<()> {
    let path = child_path(at, name)?;
    let key = CString::new(key.as_bytes())?;
    // SAFETY: path and name are NUL-terminated; the value is readable for its length.
    let set = unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets an attribute of the object behind a descriptor, an `O_PATH` one included.
///
/// # Errors
/// The kernel's.
pub fn set_own(fd: impl AsFd, key: &CStr, value: &[u8]) -> io::Result<()> {
    let path = CString::new(super::proc_path(fd))?;
    // SAFETY: path and name are NUL-terminated; the value is readable for its length.
    let set = unsafe { libc::setxattr(path.as_ptr(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `/proc/self/fd/N/name`: the l-calls then stop at `name` itself. A name with a slash would walk further.
fn child_path(at: impl AsFd, name: &OsStr) -> io::Result<CString> {
    if name.as_bytes().contains(&b'/') {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut path = super::proc_path(at).into_bytes();
    path.push(b'/');
    path.extend_from_slice(name.as_bytes());
    Ok(CString::new(path)?)
}

/// Asks for the size, then for the bytes, again if they grew in between.
fn read(call: impl Fn(*mut libc::c_void, usize) -> isize) -> io::Result<Vec<u8>> {
    for _ in 0..16 {
        let size = call(std::ptr::null_mut(), 0);
        let Ok(size) = usize::try_from(size) else { return Err(io::Error::last_os_error()) };
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut room = vec![0; size];
        let got = call(room.as_mut_ptr().cast(), size);
        if let Ok(got) = usize::try_from(got) {
            room.truncate(got);
            return Ok(room);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::ERANGE))
}
