//! A program run step by step under ptrace(2), to count its system calls and those of all that it starts.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a tree of processes did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All of it, from the first execve to the end of the last process.
    pub(crate) calls: u64,
    /// Without those of a program that a child has become: the container's own.
    pub(crate) own: u64,
    pub(crate) clones: u64,
    /// KiB, of the largest process at its end.
    pub(crate) peak: u64,
    /// The exit code of the program itself.
    pub(crate) code: i32,
}

const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEEXIT
    | libc::PTRACE_O_EXITKILL;

/// Where one process stands.
#[derive(Debug, Default)]
struct Process {
    in_call: bool,
    is_child: bool,
    is_program: bool,
}

/// Runs the command to the end of it and of everything that it started and did not leave behind.
pub(crate) fn run(command: &mut Command) -> io::Result<Counts> {
    // SAFETY: between fork and exec only ptrace(2) is called, which takes no lock and allocates nothing.
    unsafe { command.pre_exec(|| ask(libc::PTRACE_TRACEME, 0, 0).map(drop)) };
    let first = i32::try_from(command.spawn()?.id()).map_err(io::Error::other)?;
    let mut all: BTreeMap<i32, Process> = BTreeMap::new();
    let mut counts = Counts::default();
    let mut has_ended = false;
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if pid == -1 {
            return Err(io::Error::last_os_error());
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            all.remove(&pid);
            if pid == first {
                counts.code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
                has_ended = true;
            }
            // Other children of ours may go on for ever.
            match has_ended && all.is_empty() {
                true => return Ok(counts),
                false => continue,
            }
        }
        let is_new = !all.contains_key(&pid);
        let process = all.entry(pid).or_default();
        if is_new {
            process.is_child = pid != first;
            ask(libc::PTRACE_SETOPTIONS, pid, i64::from(OPTIONS))?;
        }
        if status >> 16 == libc::PTRACE_EVENT_EXIT {
            counts.peak = counts.peak.max(peak(pid));
        }
        let signal = step(process, &mut counts, (libc::WSTOPSIG(status), status >> 16), is_new);
        // A process that was killed meanwhile is heard of at the next wait.
        let _gone = ask(libc::PTRACE_SYSCALL, pid, i64::from(signal));
    }
}

/// Counts what the stop means; gives the signal that the process is to get.
fn step(process: &mut Process, counts: &mut Counts, (signal, event): (i32, i32), is_new: bool) -> i32 {
    const CALL: i32 = libc::SIGTRAP | 0x80;
    match (signal, event) {
        (CALL, _) => {
            process.in_call = !process.in_call;
            if process.in_call {
                counts.calls += 1;
                counts.own += u64::from(!process.is_program);
            }
            0
        }
        (_, libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE) => {
            counts.clones += 1;
            0
        }
        (_, libc::PTRACE_EVENT_EXEC) => {
            process.is_program = process.is_child;
            0
        }
        // The first stop of the program, at its exec, and of each new process.
        (libc::SIGTRAP | libc::SIGSTOP, _) if is_new => {
            // The exec of the first one was under way before anybody watched.
            counts.calls += u64::from(!process.is_child);
            counts.own += u64::from(!process.is_child);
            0
        }
        (libc::SIGTRAP, _) => 0,
        (signal, _) => signal,
    }
}

/// The largest resident set of a process that is still there. (wait4(2) would count the memory of whoever started it in.)
fn peak(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

pub(super) fn ask(request: libc::c_uint, pid: i32, argument: i64) -> io::Result<libc::c_long> {
    // SAFETY: these requests take an integer in place of the last pointer.
    match unsafe { libc::ptrace(request, pid, 0_usize, argument) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}
