//! Keeps containers from writing to this program's file.
//!
//! Whoever runs in a container as the owner of the file could open it for writing through /proc/PID/exe of a process that still
//! runs it, or by `#!/proc/self/exe` after it has become the entry point (CVE-2019-5736). Being undumpable closes the first way to
//! all but a container with CAP_SYS_PTRACE, and the second not at all: execve makes a process dumpable again. So the program runs
//! from a detached read-only mount of its own file, which no process can make writable, or from a sealed copy where mounting is
//! not allowed.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{AtFlags, FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::error::Error;
use crate::sys::first::{self, Image};
use crate::sys::{exec, mount};

/// Goes on in an image of this program that containers cannot write to. Called first of all: what follows is done once. The usual
/// case has been decided by the program's first instructions, at a fraction of the cost.
pub fn protect() -> Result<(), Error> {
    match first::image() {
        Image::ReadOnly | Image::OutOfReach => Ok(()),
        Image::Unknown => protect_late(),
    }
}

fn protect_late() -> Result<(), Error> {
    let image = open("/proc/self/exe", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open /proc/self/exe", errno))?;
    if is_sealed(&image).map_err(wrong)? || !is_exposed(&image).map_err(wrong)? {
        return Ok(());
    }
    let sealed = readonly_mount(&image).or_else(|_| sealed_copy(&image)).map_err(|source| {
        wrong(source).hint("make it one that its user may not write to: root's, or on a read-only mount")
    })?;
    let text = |text: std::ffi::OsString| CString::new(text.into_vec());
    let args: Result<Vec<CString>, _> = std::env::args_os().map(text).collect();
    let env: Result<Vec<CString>, _> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect();
    let (args, env) = args.and_then(|args| Ok((args, env?))).map_err(|source| wrong(source.into()))?;
    Err(wrong(exec::execve_file(&sealed, &args, &env)))
}

fn wrong(source: io::Error) -> Error {
    Error::system("protect the runtime's program file", source)
}

fn is_sealed(image: &OwnedFd) -> io::Result<bool> {
    if fstatvfs(image)?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    // EINVAL: no file of memory.
    let seals = fcntl(image, FcntlArg::F_GET_SEALS).unwrap_or(0);
    Ok(SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE))
}

/// A container runs with our own rights at most: it can write what we can. (Root of the host can, whatever the mode says.)
fn is_exposed(image: &OwnedFd) -> io::Result<bool> {
    let found = fstatat(image, "", AtFlags::AT_EMPTY_PATH)?;
    let own = nix::unistd::geteuid().as_raw();
    Ok(own == 0 || found.st_uid == own || found.st_mode & 0o022 != 0)
}

fn readonly_mount(image: &OwnedFd) -> io::Result<OwnedFd> {
    mount::clone_tree_with(image, 0, (libc::MOUNT_ATTR_RDONLY, 0))
}

fn sealed_copy(image: &OwnedFd) -> io::Result<OwnedFd> {
    // Kernels before 6.3 do not know this flag, later ones may insist on it.
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let made = memfd_create(c"runtime", flags | executable).or_else(|_| memfd_create(c"runtime", flags))?;
    let mut made = File::from(made);
    io::copy(&mut File::from(image.try_clone()?), &mut made)?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&made, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(made.into())
}
