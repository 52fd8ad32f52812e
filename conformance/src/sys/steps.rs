//! A program run instruction by instruction under ptrace(2), to see which parts of it are used.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::trace::ask;

/// Addresses in the order of their first use.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// By processes that began as the program.
    pub(crate) begun: Vec<u64>,
    /// By processes that such a one has made of itself.
    pub(crate) cloned: Vec<u64>,
}

const OPTIONS: libc::c_int = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_EXITKILL;

/// What a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    Begun,
    Cloned,
    AnotherProgram,
}

/// Runs the command, and whatever it starts, to the end; only processes that run the file `program` go step by step.
pub(crate) fn run(command: &mut Command, program: &Path) -> io::Result<Steps> {
    let file = identity(program)?;
    // SAFETY: between fork and exec only ptrace(2) is called, which takes no lock and allocates nothing.
    unsafe { command.pre_exec(|| ask(libc::PTRACE_TRACEME, 0, 0).map(drop)) };
    command.spawn()?;
    let mut all: BTreeMap<i32, Runs> = BTreeMap::new();
    let (mut begun, mut cloned) = (Seen::default(), Seen::default());
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if pid == -1 {
            return match io::Error::last_os_error() {
                ended if ended.raw_os_error() == Some(libc::ECHILD) => {
                    Ok(Steps { begun: begun.order, cloned: cloned.order })
                }
                error => Err(error),
            };
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            all.remove(&pid);
            continue;
        }
        let is_file = || identity(Path::new(&format!("/proc/{pid}/exe"))).is_ok_and(|own| own == file);
        let is_new = !all.contains_key(&pid);
        if is_new {
            // It may have been killed meanwhile, which the next wait tells.
            let _gone = ask(libc::PTRACE_SETOPTIONS, pid, i64::from(OPTIONS));
            all.insert(pid, if is_file() { Runs::Cloned } else { Runs::AnotherProgram });
        }
        if status >> 16 == libc::PTRACE_EVENT_EXEC || is_new && all.len() == 1 {
            all.insert(pid, if is_file() { Runs::Begun } else { Runs::AnotherProgram });
        }
        match all.get(&pid) {
            Some(Runs::Begun) => begun.add(address(pid)),
            Some(Runs::Cloned) => cloned.add(address(pid)),
            _ => {}
        }
        let is_plain = all.get(&pid) == Some(&Runs::AnotherProgram);
        let signal = match libc::WSTOPSIG(status) {
            libc::SIGTRAP | libc::SIGSTOP => 0,
            signal => signal,
        };
        let next = if is_plain { libc::PTRACE_CONT } else { libc::PTRACE_SINGLESTEP };
        let _gone = ask(next, pid, i64::from(signal));
    }
}

#[derive(Default)]
struct Seen {
    all: BTreeSet<u64>,
    order: Vec<u64>,
}

impl Seen {
    fn add(&mut self, address: Option<u64>) {
        if let Some(address) = address
            && self.all.insert(address)
        {
            self.order.push(address);
        }
    }
}

/// The file itself, whatever the mount by which it is run.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Where a process has just stopped after a step; None where it stopped for something else.
fn address(pid: i32) -> Option<u64> {
    // SAFETY: siginfo_t is plain data for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one siginfo_t.
    let got = unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, pid, 0_usize, &raw mut info) };
    if got == -1 || info.si_signo != libc::SIGTRAP {
        return None;
    }
    // SAFETY: the kernel fills it in for traps.
    let at = unsafe { info.si_addr() };
    Some(at.addr() as u64)
}
