//! pasta (of passt): copies the host's address into the namespace and relays connections as sockets.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::super::port::{Port, Protocol};
use super::super::runtime::on_path;
use super::helper;
use crate::error::{Error, Kind};
use crate::sys::userns;

/// Forwards to the host's name servers.
pub(super) const DNS: &str = "169.254.1.1";

/// Milliseconds. A helper that takes longer to come up is stuck.
const PATIENCE: u16 = 20_000;

/// The running helper; killed when dropped.
#[derive(Debug)]
pub(super) struct Helper(Child);

pub(super) fn find() -> Option<PathBuf> {
    on_path(Path::new("pasta"))
}

/// Starts the helper, with the ports published, and waits until the network is up.
pub(super) fn start(
    program: &Path,
    directory: &Path,
    namespace: &Path,
    ports: &[Port],
) -> Result<Helper, Error> {
    let doing = |error: std::io::Error| Error::system("give the container a network by pasta", error);
    // It writes its pid when all is set up: into a FIFO, so that this can be waited for.
    let ready = directory.join("pasta.pid");
    nix::unistd::mkfifo(&ready, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|errno| doing(errno.into()))?;
    let signal = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&ready).map_err(doing)?;
    let mut command = Command::new(program);
    command
        .args(["--foreground", "--config-net", "--no-map-gw", "--dns-forward", DNS])
        // In our namespaces it is root already, and as nobody it could not enter the network.
        .args(["--runas", "0:0", "--tcp-ns", "none", "--udp-ns", "none"])
        .args(published(ports))
        .arg("--pid")
        .arg(&ready)
        .arg("--netns")
        .arg(namespace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(helper::log(directory)?);
    let mut helper = Helper(command.spawn().map_err(doing)?);
    helper.wait_until_ready(&signal, directory)?;
    Ok(helper)
}

fn published(ports: &[Port]) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for (flag, protocol) in [("--tcp-ports", Protocol::Tcp), ("--udp-ports", Protocol::Udp)] {
        let own: Vec<&Port> = ports.iter().filter(|port| port.protocol == protocol).collect();
        if own.is_empty() {
            arguments.extend([flag.into(), "none".into()]);
        }
        for port in own {
            let address =
                if port.address.is_unspecified() { String::new() } else { format!("{}/", port.address) };
            arguments.extend([flag.into(), format!("{address}{}:{}", port.host, port.container).into()]);
        }
    }
    arguments
}

impl Helper {
    fn wait_until_ready(&mut self, signal: &File, directory: &Path) -> Result<(), Error> {
        let pid =
            i32::try_from(self.0.id()).map_err(|_| Error::new(Kind::System, "a process id is too large"))?;
        let process = userns::pidfd_open(pid).map_err(|error| Error::system("watch pasta", error))?;
        let mut waiting =
            [PollFd::new(signal.as_fd(), PollFlags::POLLIN), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waiting, PollTimeout::from(PATIENCE))
            .map_err(|errno| Error::system("wait for pasta", errno))?;
        let has_input =
            |seen: &PollFd<'_>| seen.revents().is_some_and(|seen| seen.contains(PollFlags::POLLIN));
        match ready {
            0 => Err(Error::new(Kind::System, "pasta is not ready after 20 seconds")),
            _ if waiting.first().is_some_and(has_input) => Ok(()),
            _ => Err(helper::last_words("pasta", directory)),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to kill.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::port::parse;
    use super::published;

    #[test]
    fn ports_are_given_in_pastas_words() {
        let mut ports = parse("127.0.0.1:5002:5000").unwrap();
        ports.extend(parse("5001:5000").unwrap());
        let words: Vec<String> =
            published(&ports).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words.join(" "), "--tcp-ports 127.0.0.1/5002:5000 --tcp-ports 5001:5000 --udp-ports none");
    }
}
