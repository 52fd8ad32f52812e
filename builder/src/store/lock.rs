//! Who may be in the store: builds share it, collecting garbage needs it alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Store;
use crate::error::Error;

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its Drop")] File);

impl Store {
    /// Keeps garbage collection away until the lock is dropped.
    pub fn share(&self) -> Result<Lock, Error> {
        Lock::shared(&self.path("lock"))
    }

    /// The store alone, or `None` while others use it.
    pub fn alone(&self) -> Result<Option<Lock>, Error> {
        let path = self.path("lock");
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::system(format!("lock {}", path.display()), error)),
        }
    }
}

impl Lock {
    pub(super) fn exclusive(path: &Path) -> Result<Self, Error> {
        let file = open(path)?;
        file.lock().map_err(|error| Error::system(format!("lock {}", path.display()), error))?;
        Ok(Self(file))
    }

    pub(super) fn shared(path: &Path) -> Result<Self, Error> {
        let file = open(path)?;
        file.lock_shared().map_err(|error| Error::system(format!("lock {}", path.display()), error))?;
        Ok(Self(file))
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::system(format!("open {}", path.display()), error))
}
