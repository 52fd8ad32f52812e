//! Paths that the container shall not see, or not write.

use std::path::PathBuf;

use oci_spec::runtime::Linux;

use super::text;
use crate::error::Error;

/// Absolute paths in the container, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masks {
    pub masked: Vec<PathBuf>,
    pub readonly: Vec<PathBuf>,
}

/// Takes both lists over, without repetitions.
pub fn plan(linux: &Linux) -> Result<Masks, Error> {
    Ok(Masks {
        masked: paths(linux.masked_paths().as_deref(), "linux.maskedPaths")?,
        readonly: paths(linux.readonly_paths().as_deref(), "linux.readonlyPaths")?,
    })
}

fn paths(list: Option<&[String]>, field: &str) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in list.unwrap_or_default() {
        let path = text::absolute(path.as_ref(), field)?;
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}
