//! Moves network devices of the host into the container's network namespace, with their addresses.
//!
//! Invariant: a device is named by its index from the first look on, so that all is done to the same one.

mod netlink;

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::spawn::{Birth, Spawned, to_its_end};
use crate::error::Error;
use crate::plan::net_devices::NetDevice;

use netlink::{Address, Netlink};

/// Once init is in its namespaces. The kernel takes the addresses off on the way, and they are set again.
pub fn give(devices: &[NetDevice], init: &Spawned) -> Result<(), Error> {
    if devices.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{}/ns/net", init.pid);
    let namespace = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system(format!("open {path}"), errno))?;
    let here = Netlink::open().map_err(|source| Error::system("open a netlink socket", source))?;
    let mut moved = Vec::new();
    for device in devices {
        moved.push((device.inside.as_str(), move_one(&here, device, &namespace)?));
    }
    inside(&namespace, || moved.iter().try_for_each(|(name, addresses)| set(name, addresses)))
}

/// Down first, so that nothing on the host sees it half-way.
fn move_one(here: &Netlink, device: &NetDevice, namespace: &OwnedFd) -> Result<Vec<Address>, Error> {
    let name = &device.name;
    let index =
        here.find(name).map_err(|source| Error::system(format!("find network device {name}"), source))?;
    // Those of IPv6 go when it goes down.
    let moved = here.addresses(index).and_then(|addresses| {
        here.set_up(index, false)?;
        here.move_to(index, namespace, &device.inside)?;
        Ok(addresses)
    });
    moved.map_err(|source| Error::system(format!("move network device {name} into the container"), source))
}

fn set(name: &str, addresses: &[Address]) -> Result<(), Error> {
    let done = Netlink::open().and_then(|there| {
        let index = there.find(name)?;
        addresses.iter().filter(|address| address.is_to_keep()).try_for_each(|one| there.add(index, one))?;
        there.set_up(index, true)
    });
    done.map_err(|source| Error::system(format!("set up network device {name} in the container"), source))
}

/// In a child, because a socket belongs to the namespace in which it was opened.
fn inside(namespace: &OwnedFd, deed: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let copy = namespace.try_clone().map_err(|source| Error::system("duplicate a descriptor", source))?;
    let birth = Birth { before: vec![(libc::CLONE_NEWNET, copy)], ..Birth::default() };
    to_its_end(&birth, "set up network devices", deed)
}
