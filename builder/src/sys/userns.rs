//! The namespaces that the whole builder works in, entered once, before the first thread.
//!
//! An ordinary user gets a user namespace in which it is root; everybody gets a private mount namespace and a pid
//! namespace whose first process is the builder itself. However the builder ends, `kill -9` included, the kernel
//! then takes every process and every mount with it.

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid};

use super::idmap::{self, Range};
use super::interrupt;
use crate::error::{Error, Kind};

/// Which of the two processes goes on after `enter`.
#[derive(Debug)]
pub enum Side {
    /// The process that the user started: everything is done, this is the exit code.
    Outer(ExitCode),
    /// The first process of the new namespaces: does the work.
    Inner,
}

/// What becomes of the owners of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Each id has its own on disk.
    Kept,
    /// There is one id only: every file belongs to it.
    Squashed,
}

/// Whether the ids of this namespace can tell owners apart.
#[must_use]
pub fn owners() -> Owners {
    let ids: u64 = idmap::current().iter().map(|range| u64::from(range.count)).sum();
    if ids > 1 { Owners::Kept } else { Owners::Squashed }
}

/// Whether this is the machine's own user namespace, where `trusted.*` attributes may be written.
#[must_use]
pub fn is_initial() -> bool {
    idmap::current() == [Range { inside: 0, outside: 0, count: u32::MAX }]
}

/// The process that the user started, as the machine knows it: pid and start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Its pid, in the namespace that `enter` left.
    pub pid: u32,
    /// Its start time in clock ticks since boot, which tells it from a later process of the same pid.
    pub start: u64,
}

static OUTER: OnceLock<Outer> = OnceLock::new();

/// The process that signals for this builder go to: the one that called `enter`, or this one.
#[must_use]
pub fn outer() -> Outer {
    *OUTER.get_or_init(|| Outer { pid: std::process::id(), start: start_time("self").unwrap_or_default() })
}

/// The start time of a process that is visible here and has not ended (proc(5), fields 3 and 22 of `stat`).
#[must_use]
pub fn start_time(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have spaces and parentheses: count from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // A zombie has ended: nobody has asked for its exit code yet, and perhaps nobody will.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// Moves the work of this process into namespaces of its own. Call before any thread exists.
///
/// The caller returns at once when it gets `Outer`: the work was done by its child, to which signals were passed on.
///
/// # Errors
/// When the kernel or the administrator does not allow it; the error says what to change.
pub fn enter() -> Result<Side, Error> {
    let privileged = has_sys_admin();
    let _measured = outer(); // here, where the pid is the machine's
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if !privileged {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let (go_read, go_write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| Error::system("make a pipe", errno))?;
    let signals = interrupt::block().map_err(|error| Error::system("block signals", error))?;
    match clone_into(flags).map_err(|error| explain(error, privileged))? {
        None => {
            drop(go_write);
            begin(go_read)
        }
        Some(child) => {
            drop(go_read);
            let allowed = if privileged { Ok(()) } else { map_ids(child) };
            if let Err(error) = allowed {
                // The child waits for its byte and ends when the pipe closes.
                drop(go_write);
                interrupt::supervise(&signals, child);
                return Err(error);
            }
            let mut go = fs::File::from(go_write);
            // A child that is gone already is reported by its exit status.
            drop(go.write_all(b"+"));
            // The pipe stays open: should this process die before the child is tied to it, the child sees the end.
            let code = interrupt::supervise(&signals, child);
            drop(go);
            Ok(Side::Outer(code))
        }
    }
}

/// Lets this process do the work where it is, which needs no namespaces: its signals are blocked, as by `enter`. Call before any
/// thread exists that the work outlives.
///
/// # Errors
/// The kernel's.
pub fn stay() -> Result<(), Error> {
    interrupt::block().map(drop).map_err(|error| Error::system("block signals", error))
}

/// The first steps of the inner process.
fn begin(go: OwnedFd) -> Result<Side, Error> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| Error::system("tie the builder to its parent", errno))?;
    let mut byte = [0];
    let told =
        fs::File::from(go).read(&mut byte).map_err(|error| Error::system("wait for the id map", error))?;
    if told == 0 {
        // The outer process is gone, or reports itself why the ids could not be mapped.
        return Ok(Side::Outer(ExitCode::FAILURE));
    }
    super::overlay::make_private().map_err(|error| {
        Error::system("make the mounts private", error).hint(
            "on Ubuntu, sysctl kernel.apparmor_restrict_unprivileged_userns=0 lets user namespaces work",
        )
    })?;
    super::overlay::mount_proc().map_err(|error| {
        Error::system("mount /proc for the builder's processes", error).hint(
            "this happens inside containers whose /proc is masked: start that one with an unmasked /proc",
        )
    })?;
    Ok(Side::Inner)
}

/// The child's id in the parent, `None` in the child.
fn clone_into(flags: CloneFlags) -> io::Result<Option<Pid>> {
    // SAFETY: an all-zero `clone_args` is a valid value of this plain structure.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags.bits().unsigned_abs());
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    // SAFETY: without CLONE_VM this is a fork: the child has its own copy of the memory, and this process has one
    // thread only, so no lock is held by anybody else. The kernel reads `size_of::<clone_args>` bytes of `args`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    let pid = super::checked(pid)?;
    let pid = i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))?;
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}

/// Maps the child's ids: the ranges granted to the user where there are any, else the one id.
fn map_ids(child: Pid) -> Result<(), Error> {
    let (uid, gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
    let uids = idmap::granted_by("/etc/subuid", uid);
    let gids = idmap::granted_by("/etc/subgid", uid);
    if uids.is_empty() || gids.is_empty() {
        return map_one(child, uid, gid);
    }
    match map_with("newuidmap", child, &idmap::map(uid, &uids))
        .and_then(|()| map_with("newgidmap", child, &idmap::map(gid, &gids)))
    {
        Err(Mapped::Missing) => map_one(child, uid, gid),
        Err(Mapped::Refused(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

/// Why a map was not written.
enum Mapped {
    /// The set-uid program is not installed.
    Missing,
    /// It ran and said no.
    Refused(Error),
}

fn map_with(program: &str, child: Pid, ranges: &[Range]) -> Result<(), Mapped> {
    let mut command = Command::new(program);
    command.arg(child.to_string());
    for range in ranges {
        command.args([range.inside, range.outside, range.count].map(|id| id.to_string()));
    }
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Mapped::Missing,
        _ => Mapped::Refused(Error::system(format!("run {program}"), error)),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Mapped::Refused(
        Error::new(Kind::System, format!("{program} refused to map the ids: {said}"))
            .hint("check that it is set-uid root and that /etc/subuid and /etc/subgid name this user"),
    ))
}

/// Maps the single id that needs no privilege. Groups must be given up for it (user_namespaces(7)).
fn map_one(child: Pid, uid: u32, gid: u32) -> Result<(), Error> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/{child}/{file}"), text)
            .map_err(|error| Error::system(format!("write the {file} of the user namespace"), error))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// Whether mounts may be made without a user namespace.
fn has_sys_admin() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Uid::effective().is_root()
        && status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & SYS_ADMIN != 0)
}

fn explain(error: io::Error, privileged: bool) -> Error {
    let errno = error.raw_os_error();
    if privileged {
        return Error::system("make the builder's namespaces", error);
    }
    let failed = Error::system("make a user namespace", error);
    match errno {
        Some(libc::ENOSPC) => failed.hint("raise the sysctl user.max_user_namespaces"),
        Some(libc::EPERM | libc::EACCES) => failed.hint(
            "user namespaces are off for ordinary users: set the sysctl kernel.unprivileged_userns_clone to 1, \
             or allow them in the seccomp profile of the container around",
        ),
        Some(libc::EINVAL | libc::ENOSYS) => failed.hint("this kernel has no user namespaces"),
        _ => failed,
    }
}

/// Forks a process that goes on while this one waits for its word.
///
/// The parent gets the one line that the child writes before it goes on alone, or nothing if it died. Call before any
/// thread exists.
///
/// # Errors
/// The fork's.
pub fn detach() -> io::Result<Detached> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: this process has one thread only, so the child may go on as the parent would.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            drop(read);
            nix::unistd::setsid()?;
            Ok(Detached::Child(fs::File::from(write)))
        }
        nix::unistd::ForkResult::Parent { .. } => {
            drop(write);
            // One line, not the end of the pipe: the child's own children may hold it.
            let mut word = String::new();
            io::BufReader::new(fs::File::from(read)).read_line(&mut word)?;
            Ok(Detached::Parent(word))
        }
    }
}

/// The two processes after `detach`.
#[derive(Debug)]
pub enum Detached {
    /// The process left behind, in a session of its own; what it writes here reaches the other.
    Child(fs::File),
    /// The process that the user started, with the child's whole word.
    Parent(String),
}

/// A process by a descriptor: no other process is ever taken for it.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers in, a new descriptor or -1 out.
    let fd = super::checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just returned this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process behind a descriptor.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn pidfd_send(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a live descriptor, a null siginfo (the kernel fills it) and no flags.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    super::checked(sent).map(drop)
}
