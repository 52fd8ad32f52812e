//! The program: where it is, where it starts, what it is told.

use std::ffi::{CString, OsStr};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{SFlag, fstat, stat};
use nix::unistd::AccessFlags;

use super::place;
use crate::error::{Error, Kind};
use crate::plan::process::{Home, Process};
use crate::sys::{exec, path};

/// Goes to the working directory, which is opened in the root: no descriptor of the host's can be meant (CVE-2024-21626).
pub fn enter_cwd(root: &OwnedFd, cwd: &Path) -> Result<(), Error> {
    if cwd == Path::new("/") {
        // Where whoever enters a root or a mount namespace is.
        return Ok(());
    }
    let doing = || format!("chdir to cwd ({:?}) set in config.json failed", cwd.display().to_string());
    let entered = path::open_in(root, cwd, OFlag::O_PATH | OFlag::O_DIRECTORY)
        .and_then(|dir| nix::unistd::fchdir(dir).map_err(Into::into));
    entered.map_err(|source| match source.raw_os_error() {
        Some(libc::ELOOP) => {
            let what = "current working directory is outside of container mount namespace root";
            Error::new(Kind::Attack, format!("{}: {what} -- possible container breakout detected", doing()))
        }
        _ => Error::system(doing(), source),
    })
}

/// Makes it where it is missing. A path that cannot be followed is told of when it is entered.
pub fn make_cwd(root: &OwnedFd, cwd: &Path) -> Result<(), Error> {
    if cwd == Path::new("/") {
        return Ok(());
    }
    match place::open(root, cwd, place::Kind::Directory) {
        Err(source) if source.raw_os_error() != Some(libc::ELOOP) => {
            Err(Error::system(format!("make the working directory {}", cwd.display()), source))
        }
        _ => Ok(()),
    }
}

/// The same once more as the user, who may reach a directory that root may not (a network file system).
pub fn enter_cwd_again(root: &OwnedFd, cwd: &Path, first: Result<(), Error>) -> Result<(), Error> {
    match first {
        Err(error) if matches!(error.errno(), Some(libc::EACCES | libc::EPERM)) => enter_cwd(root, cwd),
        other => other,
    }
}

/// The environment with HOME, which programs expect.
pub fn environment(process: &Process, root: &OwnedFd) -> Vec<CString> {
    let mut env = process.env.clone();
    if process.home == Home::FromPasswd {
        env.retain(|entry| !entry.to_bytes().starts_with(b"HOME="));
        let mut entry = b"HOME=".to_vec();
        entry.extend(home(root, process.user.uid).unwrap_or_else(|| b"/".to_vec()));
        env.extend(CString::new(entry).ok());
    }
    env
}

/// Larger ones are an attack on the runtime's memory (CVE-2025-4437).
const MOST_PASSWD: u64 = 1 << 20;

/// The image's /etc/passwd may be anything, a pipe that never ends too: only a regular file is read.
fn home(root: &OwnedFd, uid: u32) -> Option<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = path::open_in(root, Path::new("/etc/passwd"), flags).ok()?;
    let kind = SFlag::from_bits_truncate(fstat(&file).ok()?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(file).take(MOST_PASSWD).read_to_end(&mut text).ok()?;
    let uid = uid.to_string();
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let is_it = fields.nth(2)? == uid.as_bytes();
        let home = fields.nth(2)?;
        (is_it && !home.is_empty()).then(|| home.to_vec())
    })
}

/// The path of the program, by the rules and in the words of runc.
pub fn find(process: &Process) -> Result<CString, Error> {
    let name = process.args.first().map(CString::as_c_str).unwrap_or_default();
    let shown = String::from_utf8_lossy(name.to_bytes()).into_owned();
    if name.to_bytes().contains(&b'/') {
        check(OsStr::from_bytes(name.to_bytes()), &shown)?;
        return Ok(name.to_owned());
    }
    let path = process.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let dirs = path.unwrap_or_default().split(|byte| *byte == b':');
    let found = dirs.filter(|_| !name.is_empty()).find_map(|dir| {
        let dir = if dir.is_empty() { b"." } else { dir };
        let path = Path::new(OsStr::from_bytes(dir)).join(OsStr::from_bytes(name.to_bytes()));
        let fits = check(path.as_os_str(), &shown).is_ok();
        fits.then(|| CString::new(path.as_os_str().as_bytes()).ok()).flatten()
    });
    found.ok_or_else(|| {
        Error::new(Kind::System, format!("exec: {shown:?}: executable file not found in $PATH"))
    })
}

fn check(path: &OsStr, shown: &str) -> Result<(), Error> {
    let found = stat(path).map_err(|errno| Error::system(format!("exec: {shown:?}: stat {shown}"), errno))?;
    let refused = || Error::system(format!("exec: {shown:?}"), Errno::EACCES);
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
        return Err(refused());
    }
    let allowed = nix::unistd::faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS);
    match allowed {
        // A seccomp filter that does not know faccessat2; execve will tell.
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(_) => Err(refused()),
    }
}

/// Becomes the program; returns only with the reason why not.
pub fn start(program: &CString, process: &Process, env: &[CString]) -> Error {
    let source = exec::execve(program, &process.args, env);
    Error::system(format!("exec {}", program.to_string_lossy()), source)
}
