//! Strings on their way from the configuration to the kernel.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind};

/// A refusal that names the field.
pub fn invalid(field: impl AsRef<str>, reason: impl AsRef<str>) -> Error {
    Error::new(Kind::Invalid, format!("config.json: {}: {}", field.as_ref(), reason.as_ref()))
}

/// The kernel's strings end at the first NUL; one inside would silently cut the value.
pub fn no_nul(value: &str, field: &str) -> Result<CString, Error> {
    CString::new(value).map_err(|_| invalid(field, "contains a NUL character"))
}

/// A path that does not depend on anybody's working directory.
pub fn absolute(path: &Path, field: &str) -> Result<PathBuf, Error> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(invalid(field, "contains a NUL character"));
    }
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        false => Err(invalid(field, format!("{} is not absolute", path.display()))),
    }
}
