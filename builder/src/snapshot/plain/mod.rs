//! What stands in for the overlay where the kernel does not let us mount one: trees of links and copies.
//!
//! A layer keeps the overlay's form, so a store may be used with and without. Invariant: a tree that a step may write
//! shares no object with any layer.

mod facts;
mod merge;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

pub(super) use facts::{Facts, collect, record};
pub(super) use merge::{How, merge};

use crate::error::Error;
use crate::store::Store;
use crate::sys::overlay::{self, Attributes, Layers};
use crate::sys::root;

/// Whether overlays can be mounted in this store's file system at all, asked once, and only after one could not.
static MISSING: OnceLock<bool> = OnceLock::new();

/// Whether this process works without overlays.
#[must_use]
pub fn in_use() -> bool {
    MISSING.get().copied().unwrap_or(false)
}

/// What to do after an overlay could not be mounted: go on without any, where not even the simplest can be.
pub(super) fn instead_of(failed: Error, store: &Store) -> Result<(), Error> {
    let is_missing = match MISSING.get() {
        Some(known) => *known,
        None => {
            let found = simplest(store)?.is_err();
            *MISSING.get_or_init(|| found)
        }
    };
    if is_missing { Ok(()) } else { Err(failed) }
}

/// One empty directory on another: nothing in it can be at fault.
fn simplest(store: &Store) -> Result<std::io::Result<()>, Error> {
    let workspace = store.workspace()?;
    let make = |name: &str| {
        let path = workspace.path().join(name);
        fs::create_dir(&path)
            .and_then(|()| root::open_dir(&path))
            .map_err(|error| Error::system(format!("make {}", path.display()), error))
    };
    let (lower, upper, work) = (make("lower")?, make("upper")?, make("work")?);
    let layers = Layers {
        lower: vec![std::os::fd::AsFd::as_fd(&lower)],
        upper: Some((std::os::fd::AsFd::as_fd(&upper), std::os::fd::AsFd::as_fd(&work))),
        attributes: Attributes::of_this_process(),
    };
    Ok(overlay::overlay(&layers).map(drop))
}

/// A new directory at `path` with everything of a stack in it, lowest layer first.
pub(super) fn tree<L: std::os::fd::AsFd>(
    path: &Path,
    stack: &[L],
    how: How,
) -> Result<std::os::fd::OwnedFd, Error> {
    let doing = |error| Error::system("put layers together", error);
    fs::create_dir(path).map_err(doing)?;
    let root = root::open_dir(path).map_err(doing)?;
    merge(stack, &root, how).map_err(doing)?;
    Ok(root)
}
