//! Somebody's runtime: found once, called by runc's command line.

use std::ffi::OsStr;
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
#[derive(Debug)]
pub enum Stdio {
    /// Nothing to read, output to pipes.
    Captured,
    /// The builder's own; input too when `input` says so.
    Inherited {
        /// Whether standard input is passed on.
        input: bool,
    },
    /// This terminal, of which the runtime is in the foreground.
    Terminal(File),
    /// Nothing to read, output to this file.
    Logged(File),
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

    /// The same program, with its state elsewhere.
    #[must_use]
    pub fn with_state(&self, state: &Path) -> Self {
        Self { program: self.program.clone(), state: state.to_owned() }
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
        let mut command = self.logging(bundle);
        command.arg("run").arg("--bundle").arg(bundle).arg(id);
        set_streams(&mut command, stdio)?;
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

    /// Makes a container and starts it; it goes on without the runtime, as a child of the builder's pid namespace.
    ///
    /// # Errors
    /// The runtime's words when it could not.
    pub fn start_alone(&self, bundle: &Path, id: &str, stdio: Stdio) -> Result<i32, Error> {
        let pid_file = bundle.join("pid");
        let mut create = self.logging(bundle);
        create.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file).arg(id);
        set_streams(&mut create, stdio)?;
        self.succeed(&mut create, bundle)?;
        let mut start = self.logging(bundle);
        start.arg("start").arg(id).stdin(ProcessStdio::null());
        self.succeed(&mut start, bundle)?;
        let text = fs::read_to_string(&pid_file)
            .map_err(|error| Error::system(format!("read {}", pid_file.display()), error))?;
        text.trim().parse().map_err(|_| Error::new(Kind::System, format!("the runtime wrote the pid {text}")))
    }

    fn succeed(&self, command: &mut Command, bundle: &Path) -> Result<(), Error> {
        let status = command
            .status()
            .map_err(|error| Error::system(format!("run {}", self.program.display()), error))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(
            Kind::System,
            complaint(bundle).unwrap_or_else(|| format!("the runtime ended with {status}")),
        ))
    }

    fn logging(&self, bundle: &Path) -> Command {
        let mut command = self.command();
        command.arg("--log").arg(log_of(bundle)).args(["--log-format", "json"]);
        command
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

fn set_streams(command: &mut Command, stdio: Stdio) -> Result<(), Error> {
    match stdio {
        Stdio::Captured => {
            // A process group of its own: a key at the terminal is for the builder, which ends it in order.
            command.process_group(0);
            command.stdin(ProcessStdio::null()).stdout(ProcessStdio::piped()).stderr(ProcessStdio::piped());
        }
        Stdio::Inherited { input: false } => {
            command.process_group(0);
            command.stdin(ProcessStdio::null());
        }
        Stdio::Inherited { input: true } => {}
        Stdio::Terminal(terminal) => {
            let again = || terminal.try_clone().map_err(|error| Error::system("share a terminal", error));
            command.stdin(again()?).stderr(again()?).stdout(terminal);
        }
        Stdio::Logged(file) => {
            let errors = file.try_clone().map_err(|error| Error::system("share a log", error))?;
            command.stdin(ProcessStdio::null()).stdout(file).stderr(errors);
        }
    }
    Ok(())
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
    find_in(&std::env::var_os("PATH").unwrap_or_default(), name)
}

/// An empty or relative part of a path means the working directory, which often is the build context: what a stranger
/// put there must not run here.
fn find_in(path: &OsStr, name: &Path) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|found| is_program(found))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::find_in;

    #[test]
    fn nothing_in_the_working_directory_is_taken_for_a_program() {
        let place = tempfile::tempdir_in(".").unwrap();
        let program = place.path().join("coracle-test-program");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let name = Path::new("coracle-test-program");
        let relative = Path::new(place.path().file_name().unwrap());
        assert!(relative.join(name).is_file());
        assert_eq!(find_in(relative.as_os_str(), name), None);
        assert_eq!(find_in(OsStr::new(""), &relative.join(name)), None);
        let whole = fs::canonicalize(place.path()).unwrap();
        assert_eq!(find_in(whole.as_os_str(), name), Some(whole.join(name)));
    }
}
