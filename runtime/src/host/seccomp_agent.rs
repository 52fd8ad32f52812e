//! Hands the listener of a container's seccomp filter to the agent that answers for it.

use std::os::fd::OwnedFd;

use super::create::Order;
use super::spawn::Spawned;
use crate::error::{Error, Kind};

/// To the socket of `listenerPath`.
pub fn send(_order: &Order<'_>, _init: &Spawned, _listener: &OwnedFd) -> Result<(), Error> {
    Err(Error::new(Kind::Unsupported, "linux.seccomp: a listener is not supported"))
}
