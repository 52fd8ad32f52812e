//! Programs, run to their end within a bound: arguments in, exit code and both outputs out.
//!
//! The outputs go to files and not to pipes: a detached container keeps its standard output, so a pipe would not end with the
//! program that was started.
//!
//! Invariant: no program outlives its bound; it is killed through a pidfd.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys;

/// What a program left: its code (128 + n after signal n) and what it wrote.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// The command line, for messages.
    pub(crate) line: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Itself where the code is 0.
    pub(crate) fn success(self) -> Result<Self> {
        self.code(0)
    }

    /// Itself where the code is `expected`; otherwise an error that shows everything.
    pub(crate) fn code(self, expected: i32) -> Result<Self> {
        if self.code != expected {
            bail!("{}", self.unexpected(&format!("exit code {} instead of {expected}", self.code)));
        }
        Ok(self)
    }

    /// Itself where the code is not 0.
    pub(crate) fn failure(self) -> Result<Self> {
        if self.code == 0 {
            bail!("{}", self.unexpected("success instead of an error"));
        }
        Ok(self)
    }

    /// Itself where standard output is exactly `expected`.
    pub(crate) fn out(self, expected: &str) -> Result<Self> {
        if self.out != expected {
            bail!("{}", self.unexpected(&format!("output {:?} instead of {expected:?}", self.out)));
        }
        Ok(self)
    }

    /// Itself where standard error contains `part`, quoted as runc's text log quotes it or plainly.
    pub(crate) fn says(self, part: &str) -> Result<Self> {
        if !self.err.replace("\\\"", "\"").contains(part) {
            bail!("{}", self.unexpected(&format!("no {part:?} on standard error")));
        }
        Ok(self)
    }

    /// `what`, with the command and the end of what it wrote.
    pub(crate) fn unexpected(&self, what: &str) -> String {
        format!(
            "{what}; `{}` gave {}; stdout: {}; stderr: {}",
            self.line,
            self.code,
            tail(&self.out),
            tail(&self.err)
        )
    }
}

fn tail(text: &str) -> String {
    const KEEP: usize = 600;
    let skip = text.chars().count().saturating_sub(KEEP);
    text.chars().skip(skip).collect::<String>().trim_end().replace('\n', " | ")
}

/// A program that runs: killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    line: String,
    child: Child,
    pidfd: OwnedFd,
    out: File,
    err: File,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to the program alone.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        sys::pidfd_kill(self.pidfd.as_fd(), signal as i32).context("signal a program")
    }

    /// What it has written on standard output so far.
    pub(crate) fn so_far(&mut self) -> Result<String> {
        contents(&mut self.out)
    }

    /// What it has written on standard error so far.
    pub(crate) fn errors_so_far(&mut self) -> Result<String> {
        contents(&mut self.err)
    }

    /// Its code when it ends within `bound`; `None` when it still runs then.
    pub(crate) fn ends_within(&mut self, bound: Duration) -> Result<Option<i32>> {
        if !readable(self.pidfd.as_fd(), bound)? {
            return Ok(None);
        }
        let status = self.child.wait()?;
        forget(self.child.id());
        Ok(Some(status.code().or_else(|| status.signal().map(|n| 128 + n)).unwrap_or(-1)))
    }

    /// Waits for its end; kills it at the bound, which is an error.
    pub(crate) fn end(mut self, bound: Duration) -> Result<Ended> {
        let Some(code) = self.ends_within(bound)? else {
            self.signal(nix::sys::signal::Signal::SIGKILL)?;
            self.child.wait()?;
            let (out, err) = (contents(&mut self.out)?, contents(&mut self.err)?);
            let ended = Ended { line: self.line.clone(), code: 137, out, err };
            bail!("{}", ended.unexpected(&format!("still running after {} s", bound.as_secs())));
        };
        Ok(Ended {
            line: self.line.clone(),
            code,
            out: contents(&mut self.out)?,
            err: contents(&mut self.err)?,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is the usual case, and no error.
        let _sent = sys::pidfd_kill(self.pidfd.as_fd(), libc::SIGKILL);
        let _status = self.child.wait();
        forget(self.child.id());
    }
}

fn forget(pid: u32) {
    if let Ok(mut own) = OWN.lock() {
        own.remove(&pid);
    }
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    file.seek(SeekFrom::End(0))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The children that this process started itself and waits for itself.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Takes, for ever, the exit of every child that was adopted: as a subreaper this process gets the orphans of every runtime, and
/// the first process of a pid namespace cannot end before the exits of all others in it were taken.
pub(crate) fn reap_adopted() -> ! {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
    loop {
        let peeked = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        if let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) = peeked
            && OWN.lock().is_ok_and(|own| !own.contains(&pid.as_raw().cast_unsigned()))
        {
            let _status = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        } else {
            pause_briefly();
        }
    }
}

pub(crate) fn pause_briefly() {
    let nothing: &mut [PollFd<'_>] = &mut [];
    poll(nothing, PollTimeout::from(5_u8)).ok();
}

/// Starts `command` as one whose exit this process takes itself.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    // Held over the start: a program may have ended before its number is known.
    let mut own = OWN.lock().map_err(|_| anyhow::anyhow!("the list of children is poisoned"))?;
    let child =
        command.spawn().with_context(|| format!("start `{}`", command.get_program().to_string_lossy()))?;
    own.insert(child.id());
    Ok(child)
}

/// Starts `command` with an empty standard input unless the caller set one, in a process group of its own.
pub(crate) fn start(command: &mut Command, input: Stdio) -> Result<Running> {
    let line = std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy);
    let line = line.collect::<Vec<_>>().join(" ");
    let (out, err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let appending = |file: &File| -> Result<File> {
        // Opened anew to append: several writers of one container must not overwrite each other.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        std::fs::OpenOptions::new().append(true).open(path).context("open an output file")
    };
    command.stdin(input).stdout(appending(&out)?).stderr(appending(&err)?).process_group(0);
    let child = spawn(command)?;
    let pidfd = sys::pidfd_open(child.id())?;
    Ok(Running { line, child, pidfd, out, err })
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command, bound: Duration) -> Result<Ended> {
    start(command, Stdio::null())?.end(bound)
}

/// Runs `command` with `input` on its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str, bound: Duration) -> Result<Ended> {
    let mut file = tempfile::tempfile()?;
    std::io::Write::write_all(&mut file, input.as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    start(command, file.into())?.end(bound)
}

/// True when `fd` becomes readable (a pidfd: when its process ends) within `bound`.
pub(crate) fn readable(fd: std::os::fd::BorrowedFd<'_>, bound: Duration) -> Result<bool> {
    let deadline = Instant::now() + bound;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno).context("wait for a descriptor"),
        }
    }
}

/// Asks `holds` again and again until it is true; an error after `bound`. For states that the kernel gives no event for.
pub(crate) fn until(what: &str, bound: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + bound;
    while !holds()? {
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", bound.as_secs());
        }
        pause_briefly();
    }
    Ok(())
}

/// Where `name` is on PATH or in the directories of administrators, which an ordinary user's PATH lacks.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fixed = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let dirs = std::env::split_paths(&path).chain(fixed.iter().map(|d| Path::new(d).to_path_buf()));
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}
