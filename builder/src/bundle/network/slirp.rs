//! slirp4netns: a TCP/IP stack in a process, between a tap device and ordinary sockets.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::super::port::Port;
use super::super::runtime::on_path;
use crate::error::{Error, Kind};

/// The container's address.
pub(super) const GUEST: &str = "10.0.2.100";
/// Forwards to the host's name servers.
pub(super) const DNS: &str = "10.0.2.3";

/// A helper that takes longer than this to come up is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// The running helper; killed when dropped.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    socket: PathBuf,
}

/// The helper, if it can work here.
pub(super) fn find() -> Result<PathBuf, Error> {
    let program = on_path(Path::new("slirp4netns")).ok_or_else(|| {
        Error::new(Kind::Unsupported, "no slirp4netns to give the container a network")
            .hint("install slirp4netns, or use --network=none or --network=host")
    })?;
    check_tun()?;
    Ok(program)
}

/// Starts the helper and waits until the network is up.
pub(super) fn start(directory: &Path, namespace: &Path) -> Result<Helper, Error> {
    let program = find()?;
    let socket = directory.join("slirp.sock");
    let mut command = Command::new(program);
    command
        .args([
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            "--enable-sandbox",
            "--enable-seccomp",
        ])
        .args(["--netns-type=path", "--ready-fd=1", "--api-socket"])
        .arg(&socket)
        .arg(namespace)
        .arg("tap0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| Error::system("run slirp4netns", error))?;
    let mut helper = Helper { child, socket };
    helper.wait_until_ready()?;
    Ok(helper)
}

/// Finds out before anything is started: the helper's own words would not say what to do.
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

impl Helper {
    /// The helper says 1 on its standard output, among other words, when the interface is up.
    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let Some(mut output) = self.child.stdout.take() else {
            return Err(Error::new(Kind::System, "slirp4netns has no standard output"));
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut seen = [0; 256];
            while let Ok(count @ 1..) = output.read(&mut seen) {
                if seen.get(..count).is_some_and(|bytes| bytes == b"1" || bytes.ends_with(b"\n1")) {
                    // Nobody may be waiting any more.
                    let _ = sender.send(());
                }
            }
        });
        let begun = Instant::now();
        match receiver.recv_timeout(PATIENCE) {
            Ok(()) => Ok(()),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let text = format!("slirp4netns is not ready after {} seconds", begun.elapsed().as_secs());
                Err(Error::new(Kind::System, text))
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(self.last_words()),
        }
    }

    fn last_words(&mut self) -> Error {
        let mut said = String::new();
        if let Some(errors) = self.child.stderr.take() {
            // Whatever could be read is better than nothing.
            drop(errors.take(1 << 16).read_to_string(&mut said));
        }
        let last = said.lines().last().unwrap_or("it ended without a word");
        Error::new(Kind::System, format!("give the container a network: slirp4netns: {last}"))
    }

    /// Publishes ports of the container on the host.
    pub(super) fn publish(&self, ports: &[Port]) -> Result<(), Error> {
        ports.iter().try_for_each(|port| self.publish_one(port))
    }

    fn publish_one(&self, port: &Port) -> Result<(), Error> {
        let what = || format!("publish port {}:{}/{}", port.address, port.host, port.protocol.name());
        let request = json!({
            "execute": "add_hostfwd",
            "arguments": {
                "proto": port.protocol.name(),
                "host_addr": port.address.to_string(),
                "host_port": port.host,
                "guest_addr": GUEST,
                "guest_port": port.container,
            },
        });
        let answer = self.ask(&request.to_string()).map_err(|error| Error::system(what(), error))?;
        match serde_json::from_str::<Answer>(&answer) {
            Ok(Answer { error: None }) => Ok(()),
            Ok(Answer { error: Some(refusal) }) => {
                Err(Error::new(Kind::System, format!("{}: slirp4netns: {}", what(), refusal.desc)))
            }
            Err(error) => Err(Error::new(Kind::System, format!("{}: slirp4netns answered {error}", what()))),
        }
    }

    fn ask(&self, request: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.take(1 << 16).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    desc: String,
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
