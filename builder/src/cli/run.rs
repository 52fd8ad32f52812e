//! `builder run`: a container of an image, in the foreground or left behind.

mod container;
mod record;
mod request;
mod supervise;

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::Global;
use crate::bundle::{self, Exit};
use crate::error::{Error, Kind};
use crate::image::{self, Image, Platform};
use crate::progress;
use crate::store::Store;
use crate::sys::userns::{self, Detached, Side};

pub(crate) use record::{
    Life, all as all_records, log_path, open as open_record, remove as remove_record, wait as wait_for,
};
pub(crate) use request::Args;
use request::Request;

/// Exit codes of failures that are not the container's own, as docker and podman have them.
const BUILDER_FAILED: u8 = 125;
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs a container; the exit code is its own, or 125 to 127 when it never ran.
pub(crate) fn run(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    match begin(args, global) {
        Ok(code) => Ok(code),
        Err(error) => {
            super::report(&error);
            Ok(ExitCode::from(code_of(&error.to_string())))
        }
    }
}

/// The runtime's words tell a missing program from one that may not be executed.
fn code_of(words: &str) -> u8 {
    let words = words.to_lowercase();
    let missing = words.contains("exec") && words.contains("no such file or directory");
    if missing || words.contains("executable file not found") {
        NOT_FOUND
    } else if words.contains("exec") && words.contains("permission denied") {
        CANNOT_EXECUTE
    } else {
        BUILDER_FAILED
    }
}

fn begin(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let request = Request::new(args)?;
    bundle::sweep_cgroups();
    let root = global.store_root()?;
    if !request.detached {
        return match userns::enter()? {
            Side::Outer(code) => Ok(code),
            Side::Inner => foreground(&request, &root),
        };
    }
    // Fetched here, where progress can be seen.
    fetch_first(&request, &root)?;
    match userns::detach().map_err(|error| Error::system("leave a process behind", error))? {
        Detached::Parent(word) => report_word(&word),
        Detached::Child(mut tell) => {
            let result = background(&request, &root, &mut tell);
            if let Err(error) = &result {
                // The one who waits reports it.
                drop(writeln!(tell, "error {error}"));
            }
            result.or(Ok(ExitCode::FAILURE))
        }
    }
}

fn report_word(word: &str) -> Result<ExitCode, Error> {
    match word.split_once(' ') {
        Some(("started", id)) => {
            // A closed standard output loses only the name.
            drop(writeln!(std::io::stdout(), "{}", id.trim_end()));
            Ok(ExitCode::SUCCESS)
        }
        Some(("error", message)) => Err(Error::new(Kind::System, message.trim_end())),
        _ => Err(Error::new(Kind::System, "the container's supervisor ended early")),
    }
}

/// The image must be here before the terminal is let go.
fn fetch_first(request: &Request, root: &Path) -> Result<(), Error> {
    let store = Store::open(root)?;
    if image::open(&store, &request.image, &Platform::host())?.is_some() {
        return Ok(());
    }
    // A process of its own: this one must have a single thread when it forks.
    let program =
        std::env::current_exe().map_err(|error| Error::system("find the builder's own binary", error))?;
    let pulled = Command::new(program)
        .arg("--store")
        .arg(root)
        .arg("pull")
        .arg(request.image.to_string())
        .stdout(std::process::Stdio::null())
        .status()
        .map_err(|error| Error::system("pull the image", error))?;
    if pulled.success() { Ok(()) } else { Err(Error::new(Kind::System, "the image could not be pulled")) }
}

fn foreground(request: &Request, root: &Path) -> Result<ExitCode, Error> {
    let store = Store::open(root)?;
    let image = find(&store, request)?;
    let record = record::claim(&store, request)?;
    match container::in_foreground(&store, request, &image) {
        Ok(Exit::Code(code)) => {
            record.end(code, request.remove)?;
            Ok(ExitCode::from(code))
        }
        Ok(Exit::NotStarted(words)) => {
            record.end(BUILDER_FAILED, true)?;
            // The runtime has said so on the standard error that it shares with us.
            Ok(ExitCode::from(code_of(&words)))
        }
        Err(error) => {
            // It never ran: nothing stays.
            drop(record.end(BUILDER_FAILED, true));
            Err(error)
        }
    }
}

fn background(request: &Request, root: &Path, tell: &mut std::fs::File) -> Result<ExitCode, Error> {
    supervise::let_go().map_err(|error| Error::system("let go of the terminal", error))?;
    let store = Store::open(root)?;
    let record = record::claim(&store, request)?;
    match userns::enter()? {
        Side::Outer(code) => return Ok(code),
        Side::Inner => {}
    }
    let image = find(&store, request)?;
    let code = match container::in_background(&store, request, (&image, &record), tell) {
        Ok(code) => code,
        Err(error) => {
            // It never ran: nothing stays.
            drop(record.end(BUILDER_FAILED, true));
            return Err(error);
        }
    };
    record.end(code, request.remove)?;
    Ok(ExitCode::from(code))
}

/// The image, pulled if it is not here.
fn find(store: &Store, request: &Request) -> Result<Image, Error> {
    let platform = Platform::host();
    if let Some(found) = image::open(store, &request.image, &platform)? {
        return Ok(found);
    }
    let (sender, display) = progress::start(progress::Mode::Auto)?;
    let pulled = image::pull(store, &request.image, &platform, &sender);
    drop(sender);
    display.finish();
    let descriptor = pulled?;
    image::open_descriptor(store, &descriptor, &platform)?.ok_or_else(|| {
        Error::new(
            Kind::System,
            format!("the image {} is not whole after its pull", request.image.familiar()),
        )
    })
}
