//! A session keyring of the container's own.

use std::ffi::CString;

use crate::error::Error;
use crate::plan::Keyring;
use crate::sys::keyring;

/// Leaves the caller's keys behind. A kernel or a filter without keyrings has none to leave behind.
pub fn join(planned: &Keyring) -> Result<(), Error> {
    let Keyring::Own(name) = planned else { return Ok(()) };
    let doing = || format!("join the session keyring {name}");
    let text =
        CString::new(name.as_str()).map_err(|source| Error::system(doing(), std::io::Error::from(source)))?;
    let number = match keyring::join(&text) {
        Ok(number) => number,
        Err(source) if source.raw_os_error() == Some(libc::ENOSYS) => return Ok(()),
        Err(source) => {
            return Err(Error::system(doing(), source).hint("--no-new-keyring keeps the caller's"));
        }
    };
    match keyring::open_to_owner(number) {
        // It was there already, and belongs to another user of the container.
        Err(source) if source.raw_os_error() != Some(libc::EACCES) => Err(Error::system(doing(), source)),
        _ => Ok(()),
    }
}
