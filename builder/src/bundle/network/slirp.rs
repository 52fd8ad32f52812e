//! slirp4netns: a TCP/IP stack in a process, between a tap device and ordinary sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::super::port::Port;
use super::super::runtime::on_path;
use super::helper;
use super::subnet::{self, Subnet};
use crate::error::{Error, Kind};
use crate::sys::{proc_path, root};

const SOCKET: &str = "slirp.sock";

/// A helper that takes longer than this to come up is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// The running helper; killed when dropped.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    /// Where its socket and its log are.
    place: PathBuf,
    /// The container's addresses.
    pub(super) subnet: Subnet,
}

pub(super) fn find() -> Option<PathBuf> {
    on_path(Path::new("slirp4netns"))
}

/// Starts the helper and waits until the network is up.
pub(super) fn start(program: &Path, directory: &Path, namespace: &Path) -> Result<Helper, Error> {
    let doing = |error| Error::system("give the container a network by slirp4netns", error);
    let subnet = subnet::free()?;
    let mut command = Command::new(program);
    command
        .arg(format!("--cidr={}", subnet.cidr()))
        .args([
            "--configure",
            "--mtu=65520",
            "--disable-host-loopback",
            "--enable-sandbox",
            "--enable-seccomp",
        ])
        // A relative name: a socket's path has 107 bytes at most, and the store's may be long.
        .args(["--netns-type=path", "--ready-fd=1", "--api-socket", SOCKET])
        .arg(namespace)
        .arg("tap0")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(helper::log(directory)?);
    let child = command.spawn().map_err(doing)?;
    let mut helper = Helper { child, place: directory.to_owned(), subnet };
    helper.wait_until_ready()?;
    Ok(helper)
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
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                Err(helper::last_words("slirp4netns", &self.place))
            }
        }
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
                "guest_addr": self.subnet.guest().to_string(),
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
        let place = root::open_dir(&self.place)?;
        let mut stream = UnixStream::connect(format!("{}/{SOCKET}", proc_path(&place)))?;
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
