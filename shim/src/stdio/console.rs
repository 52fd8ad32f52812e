//! The socket on which a runtime hands over the terminal it made.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use std::os::fd::AsRawFd;

use crate::error::{Doing, Error, Kind};
use crate::sys::{fd, socket};

pub(crate) struct ConsoleSocket {
    listener: OwnedFd,
    file: PathBuf,
    address: PathBuf,
    /// The bundle, open, if only by way of a descriptor its path is short enough for a socket.
    _dir: Option<OwnedFd>,
}

impl ConsoleSocket {
    /// Listens in the bundle, which only the engine can enter.
    pub(crate) fn open(bundle: &Path, serial: u64) -> Result<ConsoleSocket, Error> {
        let name = format!("console-{serial}.sock");
        let file = bundle.join(&name);
        let (address, dir) = if file.as_os_str().len() <= socket::PATH_MAX {
            (file.clone(), None)
        } else {
            let dir = fd::open_path(bundle, OFlag::O_PATH | OFlag::O_DIRECTORY)
                .doing(|| format!("open {}", bundle.display()))?;
            let short = format!("/proc/{}/fd/{}/{name}", std::process::id(), dir.as_raw_fd());
            (PathBuf::from(short), Some(dir))
        };
        let listener = socket::listen_at(&address).doing(|| format!("listen on {}", file.display()))?;
        Ok(ConsoleSocket { listener, file, address, _dir: dir })
    }

    pub(crate) fn address(&self) -> &Path {
        &self.address
    }

    /// The terminal; to be called when the runtime has ended, so what it sent is there.
    pub(crate) fn receive(&self) -> Result<OwnedFd, Error> {
        let doing = || "receive the terminal".to_owned();
        let nothing = || Error::new(Kind::System, "receive the terminal: the runtime sent none");
        let connection = socket::accept(&self.listener).doing(doing)?.ok_or_else(nothing)?;
        let master = socket::receive_fd(&connection).doing(doing)?.ok_or_else(nothing)?;
        fd::set_nonblocking(&master).doing(doing)?;
        Ok(master)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}
