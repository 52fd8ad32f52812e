//! What the container is called, and its loopback.

use super::fds;
use crate::error::Error;
use crate::plan::Plan;
use crate::sys::net;

/// Host name and domain name, in a uts namespace of the container's own.
pub fn set(plan: &Plan) -> Result<(), Error> {
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name)
            .map_err(|errno| Error::system(format!("set the host name {name}"), errno))?;
    }
    match &plan.domainname {
        None => Ok(()),
        Some(name) => net::set_domain_name(name)
            .map_err(|source| Error::system(format!("set the domain name {name}"), source)),
    }
}

/// A new network namespace has nothing but a loopback that is down.
pub fn raise_loopback() -> Result<(), Error> {
    net::raise_loopback()
        .map(fds::leave)
        .map_err(|source| Error::system("raise the loopback interface", source))
}
