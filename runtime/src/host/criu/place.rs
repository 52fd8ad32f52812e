//! The directories of images and logs, and where mounts are in a running container.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::error::Error;
use crate::init::place;
use crate::plan::criu::{External, NULL};
use crate::sys::path::open_in;

/// Makes a directory with those above it, unless it is there.
pub fn make(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::system(format!("create {}", path.display()), source))
}

/// Opens a directory; CRIU comes to it by way of /proc.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
    opened.map_err(|source| Error::system(format!("open {}", path.display()), source))
}

/// The same by the mounts that another process sees: where CRIU mounts something relative to it, the kernel wants a mount of CRIU's
/// own namespace.
pub(super) fn open_in_view(pid: i32, path: &Path) -> Result<File, Error> {
    let whole = std::fs::canonicalize(path)
        .map_err(|source| Error::system(format!("open {}", path.display()), source))?;
    open(
        &Path::new("/proc")
            .join(pid.to_string())
            .join("root")
            .join(whole.strip_prefix("/").unwrap_or(&whole)),
    )
}

/// Mounts by where they are, with their names. What an earlier mount or a link of the image leads elsewhere is found there.
pub(super) fn mounted(root: &File, externals: &[External]) -> Vec<External> {
    let named = |External { destination, .. }: &External| {
        let reached = reached(root, destination).unwrap_or_else(|| destination.clone());
        External { destination: reached, source: destination.clone() }
    };
    externals.iter().map(named).collect()
}

/// Files that are masked, and not those that are not there or are directories, which CRIU knows as file systems.
pub(super) fn masked(root: &File, paths: &[PathBuf]) -> Vec<External> {
    let one = |path: &PathBuf| {
        let found = open_in(root, path, OFlag::O_PATH).ok()?;
        let is_file = matches!(place::is_directory(&found), Ok(false));
        is_file.then(|| External { destination: path.clone(), source: NULL.into() })
    };
    paths.iter().filter_map(one).collect()
}

/// As the container itself calls it.
fn reached(root: &File, path: &Path) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let found = open_in(root.as_fd(), path, OFlag::O_PATH).ok()?;
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()
}

/// With sources that lead through neither links nor dots, by which CRIU looks for their mounts.
pub(super) fn plain(externals: &[External]) -> Vec<External> {
    let one = |External { destination, source }: &External| External {
        destination: destination.clone(),
        source: std::fs::canonicalize(source).unwrap_or_else(|_| source.clone()),
    };
    externals.iter().map(one).collect()
}
