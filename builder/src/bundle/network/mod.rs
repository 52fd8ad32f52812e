//! The network of a container: a namespace of its own, joined to the host's network by a helper process.
//!
//! slirp4netns or pasta: both work without privilege and leave nothing on the host. The helper ends with the value
//! that stands for it, by SIGKILL, and with the builder's pid namespace in any case. Invariant: a port is published or an
//! error, before the container starts.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::files::Resolver;
use super::port::{self, Port};
use super::spec::NetworkNamespace;
use crate::error::{Error, Kind};
use crate::sys::{netns, proc_path};

mod helper;
mod pasta;
mod slirp;
mod subnet;

use helper::{Helper, Sight};

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A namespace of its own with outgoing access.
    Own,
    /// A namespace of its own with nothing but a loopback.
    None,
    /// The host's.
    Host,
}

/// A network that a container can be put in.
#[derive(Debug)]
pub struct Network {
    /// For the container's config.
    pub namespace: NetworkNamespace,
    /// How names are found in it.
    pub resolver: Resolver,
    /// The container's own address.
    pub address: Option<String>,
    /// The ports as published: numbers that the kernel chose are filled in.
    pub ports: Vec<Port>,
    helper: Option<Helper>,
    pinned: Option<PathBuf>,
}

/// Whether a network of this kind can have these ports.
///
/// # Errors
/// Ports where there is nothing to publish.
pub fn check_ports(choice: Choice, ports: &[Port]) -> Result<(), Error> {
    match choice {
        Choice::Host if !ports.is_empty() => {
            Err(Error::new(Kind::Invalid, "publish a port of a container that is in the host's network")
                .hint("leave out -p: its ports are the host's already, or leave out --network=host"))
        }
        Choice::None if !ports.is_empty() => {
            Err(Error::new(Kind::Invalid, "publish a port of a container that has no network")
                .hint("leave out --network=none"))
        }
        _ => Ok(()),
    }
}

/// Makes the network that was asked for, with its files in `directory`.
///
/// # Errors
/// A port that is taken, a helper that is missing or has no `/dev/net/tun`, a choice that cannot have ports.
pub fn attach(directory: &Path, choice: Choice, mut ports: Vec<Port>) -> Result<Network, Error> {
    check_ports(choice, &ports)?;
    if choice == Choice::Host {
        return Ok(Network {
            namespace: NetworkNamespace::Host,
            resolver: host_resolver(),
            address: None,
            ports,
            helper: None,
            pinned: None,
        });
    }
    for port in &mut ports {
        port::reserve(port)?;
    }
    let path = pin(directory)?;
    let mut network = Network {
        namespace: NetworkNamespace::At(path.clone()),
        resolver: Resolver::default(),
        address: None,
        ports,
        helper: None,
        pinned: Some(path.clone()),
    };
    if choice == Choice::Own {
        let (helper, Sight { address, resolver }) =
            helper::start(directory, &path, &network.ports, &host_resolver())?;
        network.helper = Some(helper);
        network.address = address;
        network.resolver = resolver;
    }
    Ok(network)
}

/// Whether containers can have outgoing access here.
///
/// # Errors
/// What is missing, and how to mend it.
pub fn usable() -> Result<(), Error> {
    helper::find().map(drop)
}

/// Makes a namespace and gives it a name, so that the runtime and the helper can open it.
fn pin(directory: &Path) -> Result<PathBuf, Error> {
    let doing = |error: std::io::Error| Error::system("make a network namespace", error);
    let namespace = netns::create().map_err(doing)?;
    let path = directory.join("netns");
    fs::write(&path, "").map_err(doing)?;
    let from = proc_path(namespace.as_fd());
    mount(Some(from.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|errno| doing(errno.into()))?;
    Ok(path)
}

fn host_resolver() -> Resolver {
    Resolver::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.helper.take());
        if let Some(path) = &self.pinned {
            // In our own mount namespace: at the latest it goes with it.
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}
