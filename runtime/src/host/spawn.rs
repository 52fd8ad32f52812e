//! One clone. Namespaces that have to be entered before it are entered by a go-between, so that the runtime stays where it is.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;

use super::cgroup::Beside;
use super::proc;
use crate::error::{Error, Kind};
use crate::init::namespaces::{enter_process, name};
use crate::init::procfs::set_time_offsets;
use crate::sys::clone::{self, Child, Options, Side};
use crate::sys::{fds, ns, pidfd};
use crate::wire;

/// Whether the new process is in its v2 cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    InCgroup,
    /// The cgroup holds no processes itself, and the new one went where the container's init is.
    BesideInit,
    /// The clone of a kernel, or a seccomp filter around us, that has no clone3; or no cgroup was given.
    Nowhere,
}

/// A new process.
#[derive(Debug)]
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub placed: Placed,
}

/// What the clone is given.
#[derive(Debug, Default)]
pub struct Birth<'a> {
    pub flags: i32,
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Where the process goes when the cgroup holds none itself; None refuses.
    pub beside: Option<Beside<'a>>,
    /// Entered first, in this order, with their flags; each may be a namespace or a process.
    pub before: Vec<(i32, OwnedFd)>,
    /// Made then.
    pub made: Option<Early<'a>>,
}

/// A namespace that only those who are born after it was made are in.
#[derive(Debug, Clone, Copy)]
pub struct Early<'a> {
    pub flags: i32,
    pub time_offsets: &'a [(String, i64, u32)],
}

/// Clones; the child runs `child`, which does not return, and nothing else.
pub fn spawn(birth: &Birth<'_>, child: impl FnOnce(Placed)) -> Result<Spawned, Error> {
    match birth.before.is_empty() && birth.made.is_none() {
        true => match clone_with(birth, 0)? {
            (Side::Child, placed) => {
                child(placed);
                clone::exit(1)
            }
            (Side::Parent(Child { pid, pidfd }), placed) => Ok(Spawned { pid, pidfd, placed }),
        },
        false => through_go_between(birth, child),
    }
}

/// Spawns a child for one deed and hears what goes wrong with it: returns once the child has become another program, or has ended.
pub fn telling(birth: &Birth<'_>, deed: impl FnOnce() -> Result<(), Error>) -> Result<Spawned, Error> {
    let (reader, writer) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::system("make a pipe", errno))?;
    let child = spawn(birth, |_| {
        let done = deed();
        let code = i32::from(done.is_err());
        if let Err(error) = done {
            // The parent tells a lost message from a whole one.
            let _ = nix::unistd::write(&writer, &wire::encode(&error));
        }
        clone::exit(code)
    })?;
    drop(writer);
    let mut told = Vec::new();
    // Whatever cannot be read is no news.
    drop(io::Read::read_to_end(&mut std::fs::File::from(reader), &mut told));
    if told.is_empty() {
        return Ok(child);
    }
    pidfd::wait(&child.pidfd).map_err(|source| Error::system("wait for a child", source))?;
    Err(wire::decode_error(&told))
}

/// The same for a deed that is the child's whole life; `doing` names it where the child was killed.
pub fn to_its_end(
    birth: &Birth<'_>,
    doing: &str,
    deed: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let child = telling(birth, deed)?;
    let ended = pidfd::wait(&child.pidfd).map_err(|source| Error::system("wait for a child", source))?;
    match ended.code() {
        0 => Ok(()),
        _ => Err(Error::new(Kind::System, format!("{doing}: a child of ours was killed"))),
    }
}

fn clone_with(birth: &Birth<'_>, more: i32) -> Result<(Side, Placed), Error> {
    let flags = birth.flags | more;
    let placed = if birth.cgroup.is_some() { Placed::InCgroup } else { Placed::Nowhere };
    match clone::clone3(&Options { flags, cgroup: birth.cgroup }) {
        Ok(side) => Ok((side, placed)),
        Err(source) if is_old(&source) => {
            let side = clone::clone(flags).map_err(refused)?;
            Ok((side, Placed::Nowhere))
        }
        // Only CLONE_INTO_CGROUP gives EBUSY: domain controllers are passed on from there (clone(2)).
        Err(source) if source.raw_os_error() == Some(libc::EBUSY) => {
            let Some(beside) = birth.beside else { return Err(refused(source)) };
            let dir = beside.open()?;
            let side = clone::clone3(&Options { flags, cgroup: Some(dir.as_fd()) }).map_err(refused)?;
            Ok((side, Placed::BesideInit))
        }
        Err(source) => Err(refused(source)),
    }
}

/// No clone3 at all; or E2BIG: one that is older than CLONE_INTO_CGROUP (Linux 5.7).
fn is_old(source: &io::Error) -> bool {
    matches!(source.raw_os_error(), Some(libc::ENOSYS | libc::E2BIG))
}

fn refused(source: io::Error) -> Error {
    let hint = match source.raw_os_error() {
        Some(libc::EPERM) => Some("without root a user namespace is needed, and has to be allowed here"),
        Some(libc::EACCES) => Some(
            "to enter a delegated cgroup from outside of it takes systemd: --systemd-cgroup, or start it by `systemd-run --user --scope`",
        ),
        Some(libc::ENOSPC) => Some("see the limits in /proc/sys/user"),
        Some(libc::EBUSY) => Some("its cgroup passes controllers on and holds no processes itself"),
        _ => None,
    };
    let error = Error::system("clone the container's process", source);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The go-between shares our descriptors, for the new process' pidfd to be ours; CLONE_PARENT makes the process our child.
fn through_go_between(birth: &Birth<'_>, child: impl FnOnce(Placed)) -> Result<Spawned, Error> {
    let (reader, writer) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::system("make a pipe", errno))?;
    let between = match clone_files()? {
        Side::Parent(between) => between,
        Side::Child => go_between(birth, &writer, child),
    };
    let ended =
        pidfd::wait(&between.pidfd).map_err(|source| Error::system("wait for the go-between", source))?;
    drop(writer);
    let mut told = [0; 4096];
    let count = nix::unistd::read(&reader, &mut told).map_err(|errno| Error::system("read a pipe", errno))?;
    let told = told.get(..count).unwrap_or_default();
    if ended.code() != 0 {
        return Err(wire::decode_error(told));
    }
    let lost = || Error::system("clone the container's process", io::Error::from_raw_os_error(libc::EBADMSG));
    let (pid, rest) = told.split_first_chunk::<4>().ok_or_else(lost)?;
    let (raw, rest) = rest.split_first_chunk::<4>().ok_or_else(lost)?;
    let pidfd = fds::inherited(RawFd::from_le_bytes(*raw)).ok_or_else(lost)?;
    let placed = match rest {
        [1] => Placed::InCgroup,
        [2] => Placed::BesideInit,
        _ => Placed::Nowhere,
    };
    Ok(Spawned { pid: i32::from_le_bytes(*pid), pidfd, placed })
}

fn clone_files() -> Result<Side, Error> {
    match clone::clone3(&Options { flags: libc::CLONE_FILES, cgroup: None }) {
        Err(source) if is_old(&source) => clone::clone(libc::CLONE_FILES),
        other => other,
    }
    .map_err(refused)
}

fn go_between(birth: &Birth<'_>, writer: &OwnedFd, child: impl FnOnce(Placed)) -> ! {
    let ready = enter(&birth.before).and_then(|()| birth.made.map_or(Ok(()), make));
    let cloned = ready.and_then(|()| clone_with(birth, libc::CLONE_PARENT));
    let (text, code) = match cloned {
        Err(error) => (wire::encode(&error), 1),
        Ok((Side::Child, placed)) => {
            child(placed);
            clone::exit(1)
        }
        Ok((Side::Parent(Child { pid, pidfd }), placed)) => {
            let mut text = pid.to_le_bytes().to_vec();
            text.extend(pidfd.as_raw_fd().to_le_bytes());
            text.push(match placed {
                Placed::Nowhere => 0,
                Placed::InCgroup => 1,
                Placed::BesideInit => 2,
            });
            // It stays open in the table that we share with the runtime, which takes it over.
            std::mem::forget(pidfd);
            (text, 0)
        }
    };
    // The parent tells a lost message from a whole one.
    let _ = nix::unistd::write(writer.as_fd(), &text);
    clone::exit(code)
}

fn make(early: Early<'_>) -> Result<(), Error> {
    ns::unshare(early.flags)
        .map_err(|source| Error::system(format!("make the {} namespace", name(early.flags)), source))?;
    set_time_offsets(&proc::open_proc()?, early.time_offsets)
}

fn enter(before: &[(i32, OwnedFd)]) -> Result<(), Error> {
    for (flags, target) in before {
        let entered = match ns::enter(target, *flags) {
            // A process, to a kernel that takes none.
            Err(source) if source.raw_os_error() == Some(libc::EINVAL) => {
                enter_process(&proc::open_proc()?, target, *flags)
            }
            other => other,
        };
        entered.map_err(|source| Error::system(format!("join the {} namespace", name(*flags)), source))?;
    }
    Ok(())
}
