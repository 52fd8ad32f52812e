//! Runs hooks, wherever the caller is: each gets the state on its standard input and has to end well, in time.

use std::ffi::OsStr;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;

use crate::error::{Error, Kind};
use crate::plan::hooks::Hook;
use crate::sys::{command, pidfd};

/// The container's state as JSON, cut where status and pid go: init has no encoder, and only the moment knows those two.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub before_status: String,
    pub before_pid: String,
    pub after_pid: String,
}

impl State {
    /// The whole of it.
    pub fn text(&self, status: &str, pid: i32) -> String {
        let Self { before_status, before_pid, after_pid } = self;
        format!("{before_status}{status}{before_pid}{pid}{after_pid}")
    }
}

/// Who runs hooks, and when.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The field's name in the configuration.
    pub name: &'static str,
    pub status: &'static str,
    pub pid: i32,
    pub state: &'a State,
    pub unset: Unset<'a>,
}

/// The environment of a hook that the configuration gives none.
#[derive(Debug, Clone, Copy)]
pub enum Unset<'a> {
    /// The runtime's: the hook is the operator's, as the runtime is.
    Callers,
    /// A program of the host's in the container's namespaces gets an empty one: what an image says (LD_PRELOAD) would be the host's to
    /// load (CVE-2025-23266).
    These(&'a [std::ffi::CString]),
}

/// All hooks of one moment; the first that fails is the last.
pub fn run(hooks: &[Hook], moment: &Moment<'_>) -> Result<(), Error> {
    for (at, hook) in hooks.iter().enumerate() {
        let state = moment.state.text(moment.status, moment.pid);
        if let Err(reason) = run_one(hook, &state, moment.unset) {
            let text = format!("error running {} hook #{at}: {reason}", moment.name);
            return Err(Error::new(Kind::System, text));
        }
    }
    Ok(())
}

/// Those that init runs itself. `env` is for hooks that the configuration gives none.
pub fn run_here(
    (state, env): (&State, &[std::ffi::CString]),
    hooks: &[Hook],
    (name, status): (&'static str, &'static str),
) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let pid = nix::unistd::getpid().as_raw();
    run(hooks, &Moment { name, status, pid, state, unset: Unset::These(env) })
}

fn run_one(hook: &Hook, state: &str, unset: Unset<'_>) -> Result<(), String> {
    // Files, not pipes: a hook may leave a daemon behind that keeps its output open.
    let [mut input, mut output, mut errors] = [file()?, file()?, file()?];
    let io = |source: std::io::Error| format!("fork/exec {}: {}", hook.path.display(), text(&source));
    input.write_all(state.as_bytes()).and_then(|()| input.rewind()).map_err(io)?;
    let mut command = Command::new(&hook.path);
    command.stdin(input).stdout(copy(&output).map_err(io)?).stderr(copy(&errors).map_err(io)?);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    set_environment(&mut command, hook.env.as_deref(), unset);
    let mut child = command::spawn(&mut command).map_err(io)?;
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    let in_time = ended_in_time(pid, hook.timeout).map_err(io)?;
    if !in_time {
        child.kill().map_err(io)?;
    }
    let status = child.wait().map_err(io)?;
    match (in_time, hook.timeout) {
        (false, Some(limit)) => {
            Err(format!("hook ran past specified timeout of {:.1}s", limit.as_secs_f64()))
        }
        _ if status.success() => Ok(()),
        _ => Err(format!(
            "{}, stdout: {}, stderr: {}",
            describe(status),
            contents(&mut output),
            contents(&mut errors)
        )),
    }
}

/// Without a name: in memory, or where that is refused, in a directory for such files.
fn file() -> Result<std::fs::File, String> {
    let refused = match memfd_create(c"hook", MFdFlags::MFD_CLOEXEC) {
        Ok(made) => return Ok(made.into()),
        Err(errno) => errno,
    };
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let made = DIRECTORIES.iter().find_map(|dir| open(*dir, flags, Mode::S_IRUSR | Mode::S_IWUSR).ok());
    let none = || {
        let desc = refused.desc().to_lowercase();
        format!(
            "make a file for its output: memfd_create: {desc}, and none of {} takes one",
            DIRECTORIES.join(", ")
        )
    };
    made.map(std::fs::File::from).ok_or_else(none)
}

const DIRECTORIES: [&str; 3] = ["/dev/shm", "/tmp", "/var/tmp"];

fn copy(file: &std::fs::File) -> std::io::Result<Stdio> {
    file.try_clone().map(Stdio::from)
}

fn set_environment(command: &mut Command, own: Option<&[String]>, unset: Unset<'_>) {
    let given: Vec<&[u8]> = match (own, unset) {
        (None, Unset::Callers) => return,
        (None | Some([]), Unset::These(those)) => those.iter().map(|entry| entry.to_bytes()).collect(),
        (own, _) => own.unwrap_or_default().iter().map(String::as_bytes).collect(),
    };
    command.env_clear();
    for entry in given {
        let mut parts = entry.splitn(2, |byte| *byte == b'=').map(OsStr::from_bytes);
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            command.env(name, value);
        }
    }
}

fn ended_in_time(pid: i32, limit: Option<Duration>) -> std::io::Result<bool> {
    let Some(limit) = limit else { return Ok(true) };
    let process: OwnedFd = pidfd::open(pid)?;
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut watched, timeout) {
            Ok(count) => return Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal: {}", signal_name(signal.unwrap_or_default())),
    }
}

/// In Go's words, as runc prints them.
fn signal_name(signal: i32) -> String {
    let known = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGABRT => "aborted",
        libc::SIGKILL => "killed",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGPIPE => "broken pipe",
        libc::SIGTERM => "terminated",
        libc::SIGSYS => "bad system call",
        other => return format!("signal {other}"),
    };
    known.to_owned()
}

/// The beginning of what a hook wrote.
fn contents(file: &mut std::fs::File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(4096).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).trim_end().to_owned()).unwrap_or_default()
}

fn text(source: &std::io::Error) -> String {
    match source.raw_os_error() {
        Some(errno) => nix::errno::Errno::from_raw(errno).desc().to_lowercase(),
        None => source.to_string(),
    }
}
