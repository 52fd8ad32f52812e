//! Strings on their way from the configuration to the kernel.

use std::collections::BTreeSet;
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

/// The numbers of "0-3,7", each below `most`, in ascending order. Empty parts are let through, as the peers do; None for what is no
/// such list, or an empty one.
pub fn ranges(list: &str, most: u32) -> Option<Vec<u32>> {
    let mut numbers = BTreeSet::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= most {
            return None;
        }
        numbers.extend(first..=last);
    }
    (!numbers.is_empty()).then(|| numbers.into_iter().collect())
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
