//! Mounts without the calls on descriptors (Linux 5.2, 5.12), where the kernel or a seccomp filter has not got them.
//!
//! What is a detached mount elsewhere is made by mount(2) on a stage: a file system over `/` that only its makers' descriptor leads
//! to, in a mount namespace that nobody else is in yet. All paths are `self/fd/N` of a proc that is open, so that none is walked
//! in the container's root.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat, mknodat};

use super::walk::{self, Rule};

/// This process is alone in a mount namespace of its own; `proc` stays open until `end`.
pub fn permit(proc: impl AsFd) {
    PROC.store(proc.as_fd().as_raw_fd(), Ordering::Relaxed);
}

/// Nothing more is mounted.
pub fn end() {
    PROC.store(NONE, Ordering::Relaxed);
}

/// Whether a stage lies over `/`.
pub fn is_there() -> bool {
    STAGE.load(Ordering::Relaxed) != NONE
}

const NONE: RawFd = -1;
static PROC: AtomicI32 = AtomicI32::new(NONE);
static STAGE: AtomicI32 = AtomicI32::new(NONE);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A bind of what `path` names on the host.
pub(super) fn bind_at(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let top = stage()?;
    // By a walk of our own: the kernel's would meet the stage wherever `..` comes to the root.
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    bind_on(top, &walk::open(root.as_fd(), path, OFlag::O_PATH, Rule::Own)?, recursive)
}

/// A bind of what is open.
pub(super) fn bind(source: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    bind_on(stage()?, source, recursive)
}

fn bind_on(top: Stage, source: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let name = entry(top, kind_of(&source)?)?;
    let mut flags = MsFlags::MS_BIND;
    flags.set(MsFlags::MS_REC, recursive);
    call(top.proc, &link(&source), &place(top, &name), flags)?;
    open_entry(top, &name)
}

/// A new file system with parameters as mount(8) writes them; the attributes of its mount, and those that are set when it is made.
pub fn make(kind: &str, source: &str, params: &str, (attrs, later): (u64, u64)) -> io::Result<OwnedFd> {
    let top = stage()?;
    let name = entry(top, SFlag::S_IFDIR)?;
    in_proc(top.proc, || {
        Ok(mount(Some(source), &place(top, &name), Some(kind), ms_flags(attrs), Some(params))?)
    })?;
    let made = open_entry(top, &name)?;
    if later != 0 {
        remount(top.proc, &made, (later, 0))?;
    }
    Ok(made)
}

/// Moves a mount from the stage, or one that is detached, to its place.
pub(super) fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    call(proc()?, &link(mount), &link(target), MsFlags::MS_MOVE)
}

/// The same for the caller's `/`.
pub(super) fn attach_over_root(mount: impl AsFd) -> io::Result<()> {
    attach(mount, open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Sets and clears attributes.
pub(super) fn set_attrs(tree: impl AsFd, change: (u64, u64), recursive: bool) -> io::Result<()> {
    let proc = proc()?;
    attached(&tree, || remount(proc, &tree, change))?;
    match recursive {
        true => below(proc, &tree)?.iter().try_for_each(|inner| remount(proc, inner, change)),
        false => Ok(()),
    }
}

/// Sets one kind of propagation.
pub(super) fn set_propagation(tree: impl AsFd, propagation: u64, recursive: bool) -> io::Result<()> {
    let proc = proc()?;
    let mut flags = MsFlags::from_bits_truncate(propagation);
    flags.set(MsFlags::MS_REC, recursive);
    attached(&tree, || in_proc(proc, || Ok(mount(NO, &link(&tree), NO, flags, NO)?)))
}

const NO: Option<&str> = None;

/// mount(2) takes nothing detached (EINVAL): that goes to the stage first.
fn attached(tree: impl AsFd, deed: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match deed() {
        Err(source) if source.raw_os_error() == Some(libc::EINVAL) => {
            let top = stage()?;
            let name = entry(top, kind_of(&tree)?)?;
            let target = open_entry(top, &name)?;
            super::mount::attach(&tree, &target)?;
            deed()
        }
        other => other,
    }
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    proc: RawFd,
    top: RawFd,
}

fn proc() -> io::Result<RawFd> {
    match PROC.load(Ordering::Relaxed) {
        NONE => Err(Errno::ENOSYS.into()),
        proc => Ok(proc),
    }
}

fn stage() -> io::Result<Stage> {
    let proc = proc()?;
    let known = STAGE.load(Ordering::Relaxed);
    if known != NONE {
        return Ok(Stage { proc, top: known });
    }
    // What is mounted on a shared mount appears on the host too.
    mount(NO, "/", NO, MsFlags::MS_SLAVE, NO)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), "/", Some("tmpfs"), flags, Some("mode=700"))?;
    // A walk begins below what covers its first step, but `..` ends on top.
    let open = open("/..", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let top = open.as_raw_fd();
    // It stays open until init closes everything.
    std::mem::forget(open);
    STAGE.store(top, Ordering::Relaxed);
    Ok(Stage { proc, top })
}

fn borrowed<'a>(number: RawFd) -> BorrowedFd<'a> {
    // SAFETY: `permit` and `stage` keep them open; a number that is closed all the same gives EBADF.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// An empty place on the stage.
fn entry(top: Stage, kind: SFlag) -> io::Result<String> {
    let name = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
    let dir = borrowed(top.top);
    match kind == SFlag::S_IFDIR {
        true => mkdirat(dir, name.as_str(), Mode::S_IRWXU)?,
        false => mknodat(dir, name.as_str(), SFlag::S_IFREG, Mode::empty(), 0)?,
    }
    Ok(name)
}

/// The place, or the root of what was mounted there.
fn open_entry(top: Stage, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(borrowed(top.top), name, flags, Mode::empty())?)
}

fn kind_of(of: impl AsFd) -> io::Result<SFlag> {
    let mode = fstatat(of, "", AtFlags::AT_EMPTY_PATH)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode) & SFlag::S_IFMT)
}

fn link(of: impl AsFd) -> PathBuf {
    PathBuf::from(format!("self/fd/{}", of.as_fd().as_raw_fd()))
}

fn place(top: Stage, name: &str) -> PathBuf {
    PathBuf::from(format!("self/fd/{}/{name}", top.top))
}

fn call(proc: RawFd, source: &Path, target: &Path, flags: MsFlags) -> io::Result<()> {
    in_proc(proc, || Ok(mount(Some(source), target, NO, flags, NO)?))
}

/// mount(2) takes no descriptor to begin at but the working directory. A mapped root may not go back to the caller's (EACCES), where
/// he could not have found anything either.
fn in_proc(proc: RawFd, deed: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let before = match open(".", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::EACCES) => None,
        other => Some(other?),
    };
    nix::unistd::fchdir(borrowed(proc))?;
    let done = deed();
    match before {
        Some(before) => nix::unistd::fchdir(before)?,
        None => nix::unistd::chdir("/")?,
    }
    done
}

/// A remount replaces all flags: those that are not to change are given again.
fn remount(proc: RawFd, mounted: impl AsFd, (set, clear): (u64, u64)) -> io::Result<()> {
    let attrs = present(&mounted)? & !clear | set;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | ms_flags(attrs);
    in_proc(proc, || Ok(mount(NO, &link(&mounted), NO, flags, NO)?))
}

/// In the order of statfs(2)'s bits, mount_setattr(2)'s and mount(2)'s; relatime is 0 among the attributes.
const FLAGS: [(u64, u64, MsFlags); 7] = [
    (1, libc::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY),
    (2, libc::MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID),
    (4, libc::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV),
    (8, libc::MOUNT_ATTR_NOEXEC, MsFlags::MS_NOEXEC),
    (1024, libc::MOUNT_ATTR_NOATIME, MsFlags::MS_NOATIME),
    (2048, libc::MOUNT_ATTR_NODIRATIME, MsFlags::MS_NODIRATIME),
    (0x2000, libc::MOUNT_ATTR_NOSYMFOLLOW, MsFlags::from_bits_retain(256)),
];
const ST_RELATIME: u64 = 4096;

fn present(mounted: impl AsFd) -> io::Result<u64> {
    let bits = nix::sys::statvfs::fstatvfs(mounted)?.flags().bits();
    let attrs = FLAGS.iter().filter(|(bit, ..)| bits & bit != 0).fold(0, |sum, (_, attr, _)| sum | attr);
    match bits & (ST_RELATIME | 1024) {
        0 => Ok(attrs | libc::MOUNT_ATTR_STRICTATIME),
        _ => Ok(attrs),
    }
}

fn ms_flags(attrs: u64) -> MsFlags {
    let mut flags = MsFlags::empty();
    for (_, attr, flag) in FLAGS {
        flags.set(flag, attrs & attr != 0);
    }
    let times = if attrs & libc::MOUNT_ATTR__ATIME == 0 { MsFlags::MS_RELATIME } else { MsFlags::empty() };
    let strict = attrs & libc::MOUNT_ATTR__ATIME == libc::MOUNT_ATTR_STRICTATIME;
    flags | times | if strict { MsFlags::MS_STRICTATIME } else { MsFlags::empty() }
}

/// The mounts below the one that is open, which mount_setattr changes in one go.
fn below(proc: RawFd, tree: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let table = read(proc, Path::new("self/mountinfo"))?;
    let own = walk::mount_id(borrowed(proc), &tree)?;
    let mounts: Vec<(u64, u64, PathBuf)> = table.split(|byte| *byte == b'\n').filter_map(line).collect();
    let Some((_, _, top)) = mounts.iter().find(|(id, ..)| *id == own) else { return Ok(Vec::new()) };
    let mut inside = vec![own];
    let mut opened = Vec::new();
    // A mount may stand before its parent in the table.
    let mut at = 0;
    while let Some(parent) = inside.get(at).copied() {
        at += 1;
        for (id, _, path) in mounts.iter().filter(|(_, of, _)| *of == parent) {
            let Ok(path) = path.strip_prefix(top) else { continue };
            inside.push(*id);
            opened.push(walk::open(tree.as_fd(), path, OFlag::O_PATH, Rule::Plain)?);
        }
    }
    Ok(opened)
}

fn read(proc: RawFd, file: &Path) -> io::Result<Vec<u8>> {
    let open = openat(borrowed(proc), file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(open), &mut bytes)?;
    Ok(bytes)
}

/// Id, parent's id and place (proc_pid_mountinfo(5)).
fn line(line: &[u8]) -> Option<(u64, u64, PathBuf)> {
    let mut words = line.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    Some((id, parent, unescape(words.nth(2)?)))
}

fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}
