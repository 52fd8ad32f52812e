//! Names in `tmp/`, and sweeping those whose writers died.
//!
//! A writer holds a lock on its entry for as long as it lives; an entry that can be locked has no writer.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Store;
use crate::error::Error;
use crate::sys::root;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// What a power failure may do to a file that was put in place a moment before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Nothing: the store is lost without it.
    Synced,
    /// Cut it short or take it away: its reader sees that, and the work is done again.
    Renewable,
}

impl Store {
    /// A new, locked file in `tmp/`.
    pub(super) fn temporary_file(&self) -> Result<(PathBuf, File), Error> {
        self.temporary(|path| {
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
        })
    }

    /// A new, locked directory in `tmp/`.
    pub(super) fn temporary_directory(&self) -> Result<(PathBuf, File), Error> {
        self.temporary(|path| {
            DirBuilder::new().mode(0o700).create(path)?;
            File::open(path)
        })
    }

    fn temporary(&self, make: impl Fn(&Path) -> io::Result<File>) -> Result<(PathBuf, File), Error> {
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.path(format!("tmp/{}-{number}", std::process::id()));
            let doing = || format!("create {}", path.display());
            let file = match make(&path) {
                // Another pid namespace, or a predecessor of the same pid, may have the name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                // A sweeper took the directory away before it could be opened and locked.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.path("tmp").is_dir() => {
                    continue;
                }
                made => made.map_err(|error| Error::system(doing(), error))?,
            };
            // A sweeper may have found it in the moment before it is locked: then it is gone, and another is made.
            if file.try_lock().is_ok() && still_there(&path, &file) {
                return Ok((path, file));
            }
        }
    }

    /// Puts `bytes` in place of the file `name`, whole.
    pub(super) fn replace_file(&self, name: &str, bytes: &[u8], lasting: Lasting) -> Result<(), Error> {
        let (path, mut file) = self.temporary_file()?;
        let target = self.path(name);
        let sync = |file: &File| if lasting == Lasting::Synced { file.sync_data() } else { Ok(()) };
        file.write_all(bytes).and_then(|()| sync(&file)).and_then(|()| fs::rename(&path, &target)).map_err(
            |error| {
                drop(fs::remove_file(&path)); // nothing more can be done about it: the sweep will
                Error::system(format!("write {}", target.display()), error)
            },
        )
    }

    /// Removes what killed writers left behind; returns what could not be removed. It stays for the next time: a snapshot of many
    /// owners goes only from within the user namespace that made it.
    pub fn sweep(&self) -> Vec<Error> {
        let Ok(entries) = fs::read_dir(self.path("tmp")) else { return Vec::new() };
        let swept = entries.flatten().map(|entry| sweep_entry(&entry.path()));
        swept.filter_map(Result::err).collect()
    }
}

fn sweep_entry(path: &Path) -> Result<(), Error> {
    let doing = |error| Error::system(format!("remove {}", path.display()), error);
    let file = match open_entry(path) {
        // Its writer is done with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(doing)?,
    };
    if file.try_lock().is_err() || !still_there(path, &file) {
        return Ok(());
    }
    remove_tree(path).map_err(doing)
}

/// Removes a file or a directory with everything in it, without following links.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    match root::open_dir(parent) {
        Ok(parent) => root::remove(parent, name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn open_entry(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn still_there(path: &Path, file: &File) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((fs::symlink_metadata(path), file.metadata()), (Ok(named), Ok(held)) if same(&named, &held))
}
