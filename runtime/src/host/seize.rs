//! A container that somebody keeps locked, by a hook or a file system that hangs, is taken from him: he is ended.
//!
//! Invariant: only a process that has the lock is killed, through a descriptor that was opened before that was seen.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::cgroup::ended_within;
use super::reach;
use crate::error::Error;
use crate::state::{ContainerId, Entry, Found, Root};

/// How long a command that is at work may go on: most take milliseconds, and who deletes by force does not want its work.
const TURN: Duration = Duration::from_secs(3);
/// How long a killed one may take to end, and its init with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The container's entry, locked, whoever has the lock.
pub fn locked(root: &Root, id: &ContainerId) -> Result<Entry, Error> {
    if let Some(entry) = root.locked_within(id, TURN)? {
        return Ok(entry);
    }
    let entry = root.entry(id)?;
    for (pid, process) in holders(root, id, &entry)? {
        end(pid, &process)?;
    }
    root.locked_within(id, PATIENCE)?.ok_or_else(|| {
        let held = std::io::Error::from_raw_os_error(libc::ETIMEDOUT);
        Error::system(format!("lock {}", entry.path().display()), held)
            .hint("a process that cannot be found, or does not end, keeps it locked")
    })
}

/// By the kernel's table of locks, where every verb is found that takes one; by the intent where the table does not show the creator.
fn holders(root: &Root, id: &ContainerId, entry: &Entry) -> Result<Vec<(i32, OwnedFd)>, Error> {
    let wrong = |errno| Error::system(format!("find out who has locked {}", entry.path().display()), errno);
    let inode = nix::sys::stat::fstat(entry.dir()).map_err(wrong)?.st_ino;
    // Where it cannot be read the intent is what there is.
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut found = Vec::new();
    for pid in table.lines().filter_map(|line| locker(line, inode)) {
        if let Some(process) = reach::open(pid)?
            && has_open(pid, entry)
        {
            found.push((pid, process));
        }
    }
    if found.is_empty()
        && let Ok(Found::Intent(intent)) = root.find(id)
        && let Some(process) = reach::open(intent.by.pid)?
        && intent.by.is_alive()
    {
        found.push((intent.by.pid, process));
    }
    Ok(found)
}

/// Who has locked this inode, by a line of /proc/locks (proc_locks(5)). Its device is not compared: some file systems have another one
/// there than in stat(2).
fn locker(line: &str, inode: u64) -> Option<i32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    // A line of one that waits has an arrow here.
    (words.next()? == "FLOCK").then_some(())?;
    let pid = words.nth(2)?.parse().ok()?;
    let of: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
    (of == inode).then_some(pid)
}

/// A number in the table may be that of a process that has ended and left the lock to a child; another process may have it now.
fn has_open(pid: i32, entry: &Entry) -> bool {
    let Ok(own) = nix::sys::stat::fstat(entry.dir()) else { return false };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.filter_map(|fd| std::fs::metadata(fd.path()).ok())
        .any(|found| (found.dev(), found.ino()) == (own.st_dev, own.st_ino))
}

/// With its children: init, a hook, CRIU.
fn end(pid: i32, process: &OwnedFd) -> Result<(), Error> {
    let mut children = Vec::new();
    for child in children_of(pid) {
        children.extend(reach::open(child)?.map(|process| (child, process)));
    }
    // Still its children, so that the descriptors are theirs.
    let still = children_of(pid);
    children.retain(|(child, _)| still.contains(child));
    reach::signal(process, pid, libc::SIGKILL)?;
    if !ended_within(process, PATIENCE)? {
        let late = std::io::Error::from_raw_os_error(libc::ETIMEDOUT);
        return Err(Error::system(format!("kill process {pid}, which has the container locked"), late));
    }
    for (child, process) in children {
        reach::signal(&process, child, libc::SIGKILL)?;
    }
    Ok(())
}

fn children_of(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::locker;

    #[test]
    fn a_lock_is_known_by_its_inode_and_waiters_have_none() {
        for (line, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 4711 00:1a:815 0 EOF", Some(4711)),
            ("1: -> FLOCK  ADVISORY  WRITE 4712 00:1a:815 0 EOF", None),
            ("2: FLOCK  ADVISORY  WRITE 4711 00:1a:816 0 EOF", None),
            ("3: POSIX  ADVISORY  WRITE 4711 00:1a:815 0 EOF", None),
            ("4: FLOCK", None),
            ("", None),
        ] {
            assert_eq!(locker(line, 815), expected, "{line}");
        }
    }
}
