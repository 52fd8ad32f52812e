//! The OCI runtime: any binary with runc's command line.
//!
//! Invariant: what a call says about a failure comes from that call's own log; calls run in parallel and share nothing.

pub(crate) mod argv;
mod report;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Pid;

use crate::error::{Doing, Error, Kind};
use crate::options::Options;
use crate::sys::child::{self, Io, Lifetime};
use crate::sys::fd;

/// Where runtimes keep their state, one directory for each containerd namespace.
const DEFAULT_ROOT: &str = "/run/containerd/coracle";

/// Most output of one call that is looked at; `ps` of a container with 100,000 processes stays below.
const OUTPUT_LIMIT: usize = 4 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) binary: PathBuf,
    root: PathBuf,
    bundle: PathBuf,
    systemd_cgroup: bool,
    debug: bool,
}

/// What the engine chose for one container.
pub(crate) struct Choice<'a> {
    pub(crate) options: &'a Options,
    pub(crate) bundle: &'a Path,
    pub(crate) namespace: &'a str,
    pub(crate) debug: bool,
}

impl Runtime {
    pub(crate) fn choose(choice: &Choice) -> Runtime {
        let root = Some(choice.options.root.as_str()).filter(|root| !root.is_empty()).unwrap_or(DEFAULT_ROOT);
        Runtime {
            binary: binary(choice.options),
            root: Path::new(root).join(choice.namespace),
            bundle: choice.bundle.to_owned(),
            systemd_cgroup: choice.options.systemd_cgroup,
            debug: choice.debug,
        }
    }

    /// Starts `runtime VERB...`; `serial` keeps its log apart from the logs of other calls.
    pub(crate) fn call(&self, verb: Vec<String>, io: CallIo, serial: u64) -> Result<Call, Error> {
        let log = self.bundle.join(format!("log-{serial}.json"));
        let mut command = Command::new(&self.binary);
        command.args(self.global(&log)).args(verb).env_remove("NOTIFY_SOCKET").current_dir(&self.bundle);
        let (io, output) = match io {
            CallIo::Container(io) => (io, None),
            CallIo::Captured { stdin } => {
                let output = fd::scratch().doing(|| "make a file for the runtime's output".into())?;
                let copy = || output.try_clone().doing(|| "copy a descriptor".into());
                (Io { stdin, stdout: Some(copy()?), stderr: Some(copy()?), extra: Vec::new() }, Some(output))
            }
        };
        let pid =
            child::spawn(command, io, Lifetime::Ours).doing(|| format!("run {}", self.binary.display()))?;
        Ok(Call { pid, log, output })
    }

    /// `runtime VERB...`, waited for: for `delete`, which does nothing else meanwhile.
    pub(crate) fn call_and_wait(&self, verb: Vec<String>) -> Result<Vec<u8>, Error> {
        let log = self.bundle.join("log-delete.json");
        let mut command = Command::new(&self.binary);
        command.args(self.global(&log)).args(verb).env_remove("NOTIFY_SOCKET");
        let output = command.output().doing(|| format!("run {}", self.binary.display()))?;
        if output.status.success() {
            drop(std::fs::remove_file(&log));
            return Ok(output.stdout);
        }
        Err(Error::new(Kind::System, report::failure(&log, &output.stderr, output.status.code())))
    }

    /// `runtime features`: it takes no state and writes no log.
    pub(crate) fn features(&self, verb: Vec<String>) -> Result<Vec<u8>, Error> {
        let output = Command::new(&self.binary)
            .args(verb)
            .output()
            .doing(|| format!("run {}", self.binary.display()))?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(Error::new(Kind::Unsupported, "runtime features"))
        }
    }

    fn global(&self, log: &Path) -> Vec<String> {
        let mut words = vec![
            "--root".into(),
            self.root.display().to_string(),
            "--log".into(),
            log.display().to_string(),
            "--log-format".into(),
            "json".into(),
        ];
        if self.debug {
            words.push("--debug".into());
        }
        if self.systemd_cgroup {
            words.push("--systemd-cgroup".into());
        }
        words
    }
}

pub(crate) enum CallIo {
    /// The runtime hands its standard streams on to the container.
    Container(Io),
    /// The runtime's own output is kept, for what it prints and for what it complains about.
    Captured { stdin: Option<OwnedFd> },
}

/// A runtime at work.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) pid: Pid,
    log: PathBuf,
    output: Option<OwnedFd>,
}

impl Call {
    /// What the runtime printed, or, when it did not end well, why.
    pub(crate) fn result(self, status: u32) -> Result<Vec<u8>, String> {
        let output =
            self.output.as_ref().and_then(|file| fd::contents(file, OUTPUT_LIMIT).ok()).unwrap_or_default();
        if status == 0 {
            drop(std::fs::remove_file(&self.log));
            return Ok(output);
        }
        Err(report::failure(&self.log, &output, i32::try_from(status).ok()))
    }
}

/// The binary asked for; else the `runtime` beside this shim or on PATH; else runc.
fn binary(options: &Options) -> PathBuf {
    if !options.binary_name.is_empty() {
        return PathBuf::from(&options.binary_name);
    }
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("runtime"));
    if let Some(path) = beside.filter(|path| path.is_file()) {
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("runtime")).find(|path| path.is_file());
    found.unwrap_or_else(|| PathBuf::from("runc"))
}
