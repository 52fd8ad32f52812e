//! The process that joins a container's network to the host's: whichever is installed.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::super::files::Resolver;
use super::super::port::Port;
use super::{pasta, slirp};
use crate::error::{Error, Kind};

/// A helper that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    Slirp(PathBuf),
    Pasta(PathBuf),
}

/// A helper that runs; killed when dropped.
#[derive(Debug)]
pub(super) enum Helper {
    Slirp(#[expect(dead_code, reason = "held for its Drop")] slirp::Helper),
    Pasta(#[expect(dead_code, reason = "held for its Drop")] pasta::Helper),
}

/// What a network looks like from inside.
pub(super) struct Sight {
    /// The container's own address, where the helper gives it a fixed one.
    pub(super) address: Option<String>,
    pub(super) resolver: Resolver,
}

/// The helper that is used here: slirp4netns, which needs no interface of the host, else pasta.
pub(super) fn find() -> Result<Program, Error> {
    let program = slirp::find().map(Program::Slirp).or_else(|| pasta::find().map(Program::Pasta));
    let program = program.ok_or_else(|| {
        Error::new(Kind::Unsupported, "neither slirp4netns nor pasta is here to give the container a network")
            .hint("install slirp4netns or passt, or use --network=none or --network=host")
    })?;
    check_tun()?;
    Ok(program)
}

/// Starts it in the namespace, with the ports published.
pub(super) fn start(
    directory: &Path,
    namespace: &Path,
    ports: &[Port],
    host: &Resolver,
) -> Result<(Helper, Sight), Error> {
    let (helper, address, dns) = match find()? {
        Program::Slirp(program) => {
            let helper = slirp::start(&program, directory, namespace)?;
            helper.publish(ports)?;
            let (guest, dns) = (helper.subnet.guest().to_string(), helper.subnet.dns().to_string());
            (Helper::Slirp(helper), Some(guest), dns)
        }
        Program::Pasta(program) => {
            (Helper::Pasta(pasta::start(&program, directory, namespace, ports)?), None, pasta::DNS.to_owned())
        }
    };
    let resolver = Resolver { servers: vec![dns], ..host.clone() };
    Ok((helper, Sight { address, resolver }))
}

const LOG: &str = "network.log";

/// Where a helper complains: a file, since nobody reads a pipe for as long as it runs.
pub(super) fn log(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOG);
    File::create(&path).map_err(|error| Error::system(format!("make {}", path.display()), error))
}

/// Why a helper ended before it was ready.
pub(super) fn last_words(name: &str, directory: &Path) -> Error {
    // Whatever could be read is better than nothing.
    let said = fs::read_to_string(directory.join(LOG)).unwrap_or_default();
    // pasta complains about a missing system log at every line.
    let is_telling = |line: &&str| !line.starts_with("Failed to send") && !line.trim().is_empty();
    let last = said.lines().rfind(is_telling).unwrap_or("it ended without a word");
    Error::new(Kind::System, format!("give the container a network: {name}: {last}"))
}

/// Finds out before anything is started: the helpers' own words would not say what to do.
fn check_tun() -> Result<(), Error> {
    const TUN: &str = "/dev/net/tun";
    let opened = OpenOptions::new().read(true).write(true).open(TUN);
    let is_device = opened
        .and_then(|file| file.metadata())
        .map_err(|error| {
            Error::system(format!("open {TUN} to give the container a network"), error).hint(
                "have root run `modprobe tun; chmod 0666 /dev/net/tun`, or use --network=none or --network=host",
            )
        })?
        .file_type()
        .is_char_device();
    if is_device { Ok(()) } else { Err(Error::new(Kind::Unsupported, format!("{TUN} is no device"))) }
}
