//! Names of containers.

use std::fs::File;
use std::io::Read;

use crate::error::Error;

/// A name that no other container of the machine has: they share the tree of control groups.
///
/// # Errors
/// The kernel's, when it gives no random bytes.
pub fn fresh() -> Result<String, Error> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::system("read /dev/urandom", error))?;
    Ok(format!("coracle-{:016x}", u64::from_ne_bytes(bytes)))
}
