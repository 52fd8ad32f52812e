//! Somebody's runtime: found once, called by runc's command line.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as ProcessStdio};

use serde::Deserialize;

use crate::error::{Error, Kind};

/// An OCI runtime and where it keeps its state.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: PathBuf,
    state: PathBuf,
}

/// What a container's standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Nothing to read, output to pipes.
    Captured,
    /// The builder's own; input too when `input` says so.
    Inherited {
        /// Whether standard input is passed on.
        input: bool,
    },
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Its first process ended with this code (128 and the number for a signal).
    Code(u8),
    /// It never ran: the runtime's words.
    NotStarted(String),
}

impl Runtime {
    /// The runtime at `given`; else `runtime` beside the builder's own binary or on the path; else crun or runc.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(given: Option<&Path>, state: &Path) -> Result<Self, Error> {
        let program = match given {
            Some(path) if path.components().count() > 1 => check(path)?,
            Some(name) => on_path(name).ok_or_else(|| {
                Error::new(Kind::Invalid, format!("no runtime {} on the path", name.display()))
            })?,
            None => beside_us()
                .or_else(|| ["runtime", "crun", "runc"].iter().find_map(|name| on_path(Path::new(name))))
                .ok_or_else(|| {
                    Error::new(Kind::Unsupported, "no OCI runtime was found")
                        .hint("put `runtime` beside `builder`, or name one by --runtime or CORACLE_RUNTIME")
                })?,
        };
        Ok(Self { program, state: state.to_owned() })
    }

    /// Its path.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts `run` on a bundle: the child is the runtime, which ends with the container's exit code.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(&self, bundle: &Path, id: &str, stdio: Stdio) -> Result<Child, Error> {
        let mut command = self.command();
        command.arg("--log").arg(log_of(bundle)).args(["--log-format", "json"]);
        command.arg("run").arg("--bundle").arg(bundle).arg(id);
        match stdio {
            Stdio::Captured => {
                // A process group of its own: a key at the terminal is for the builder, which ends it in order.
                command.process_group(0);
                command
                    .stdin(ProcessStdio::null())
                    .stdout(ProcessStdio::piped())
                    .stderr(ProcessStdio::piped());
            }
            Stdio::Inherited { input: false } => {
                command.process_group(0);
                command.stdin(ProcessStdio::null());
            }
            Stdio::Inherited { input: true } => {}
        }
        command.spawn().map_err(|error| Error::system(format!("run {}", self.program.display()), error))
    }

    /// Waits for the child of `start`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, child: &mut Child, bundle: &Path) -> Result<Exit, Error> {
        let status = child.wait().map_err(|error| Error::system("wait for the runtime", error))?;
        let code = match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
            (None, Some(signal)) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(u8::MAX),
            (None, None) => u8::MAX,
        };
        Ok(match complaint(bundle).filter(|_| code != 0) {
            Some(words) => Exit::NotStarted(words),
            None => Exit::Code(code),
        })
    }

    /// Sends a signal to the container's first process. A container that is gone is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        self.quietly(&["kill", id, signal])
    }

    /// Removes what is left of a container.
    ///
    /// # Errors
    /// The kernel's.
    pub fn delete(&self, id: &str) -> Result<(), Error> {
        self.quietly(&["delete", "--force", id])
    }

    fn quietly(&self, arguments: &[&str]) -> Result<(), Error> {
        let ran = self
            .command()
            .args(arguments)
            .stdin(ProcessStdio::null())
            .stdout(ProcessStdio::null())
            .stderr(ProcessStdio::null())
            .status();
        ran.map(drop).map_err(|error| Error::system(format!("run {}", self.program.display()), error))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state);
        command
    }
}

fn log_of(bundle: &Path) -> PathBuf {
    bundle.join("runtime.log")
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The last error that the runtime logged.
fn complaint(bundle: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(log_of(bundle)).ok()?.take(1 << 20).read_to_string(&mut text).ok()?;
    text.lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .rfind(|line| matches!(line.level.as_str(), "error" | "fatal"))
        .map(|line| line.msg)
}

fn check(path: &Path) -> Result<PathBuf, Error> {
    let doing = || format!("use the runtime {}", path.display());
    let whole = fs::canonicalize(path).map_err(|error| Error::system(doing(), error))?;
    if is_program(&whole) {
        return Ok(whole);
    }
    Err(Error::system(doing(), std::io::Error::from_raw_os_error(libc::EACCES))
        .hint("it is not an executable file"))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn beside_us() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name("runtime");
    is_program(&path).then_some(path)
}

/// A program on `PATH`, or where the system's own programs are.
pub(super) fn on_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|found| is_program(found))
}
