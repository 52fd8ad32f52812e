//! Giving up: ends the containers that run, so that those who wait for them go on.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Kind};
use crate::sys::userns;

/// Whether the build is given up, and who has to be told.
#[derive(Debug, Default)]
pub struct Interrupt {
    raised: AtomicBool,
    /// The runtimes that run, by container id.
    running: Mutex<BTreeMap<String, OwnedFd>>,
}

impl Interrupt {
    /// Whether the build is given up.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Gives the build up. Each runtime is killed; whoever waits for it removes its container.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for runtime in running.values() {
            // It may have ended by itself just now.
            drop(userns::pidfd_send(runtime, libc::SIGKILL));
        }
    }

    /// Has the runtime of a container killed when the build is given up; at once if it is already.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch(&self, id: &str, pid: u32) -> Result<(), Error> {
        let doing = |error| Error::system("watch the runtime", error);
        let pid = i32::try_from(pid).map_err(|_| Error::new(Kind::System, "a process id is too large"))?;
        let runtime = userns::pidfd_open(pid).map_err(doing)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_raised() {
            drop(userns::pidfd_send(&runtime, libc::SIGKILL));
        }
        running.insert(id.to_owned(), runtime);
        Ok(())
    }

    /// The container has ended.
    pub fn forget(&self, id: &str) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The error of a step that was cut short.
    #[must_use]
    pub fn error() -> Error {
        Error::new(Kind::System, "the build was interrupted")
    }
}
