//! The network namespace that the host makes while init is at work.

use super::{fds, names};
use crate::error::Error;
use crate::plan::namespaces::Namespaces;
use crate::sys::ns;
use crate::wire::InitEnd;

/// Who hands it over; nobody where init is in the container's network already.
#[derive(Debug, Default)]
pub struct Network<'a>(Option<&'a InitEnd>);

impl<'a> Network<'a> {
    /// What is still to be entered.
    pub fn of(planned: &Namespaces, wire: &'a InitEnd) -> Self {
        Self((planned.beside & libc::CLONE_NEWNET != 0).then_some(wire))
    }

    /// Before whatever belongs to a network: a file system that shows it, a hook, a parameter.
    pub fn enter(&mut self) -> Result<(), Error> {
        let Some(wire) = self.0.take() else { return Ok(()) };
        let made = wire.network()?;
        ns::enter(&made, libc::CLONE_NEWNET)
            .map_err(|source| Error::system("enter the container's network namespace", source))?;
        fds::leave(made);
        names::raise_loopback()
    }
}
