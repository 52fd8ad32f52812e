//! Giving up: ends the containers that run, so that those who wait for them go on.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Condvar;
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
    /// The runtime of the shell in a failed step. The failure ends the others, a signal ends it too.
    attended: Mutex<Attended>,
    /// Told when a container has gone, and when the shell has.
    gone: Condvar,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Attended {
    runtime: Option<OwnedFd>,
    is_over: bool,
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

    /// Somebody wants everything to end, a shell in a failed step included.
    pub fn stop(&self) {
        self.raise();
        let mut attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        attended.is_over = true;
        if let Some(runtime) = &attended.runtime {
            drop(userns::pidfd_send(runtime, libc::SIGKILL));
        }
    }

    /// Has the runtime of a shell killed by `stop`; at once if that came before.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attend(&self, pid: u32) -> Result<(), Error> {
        let runtime = open(pid)?;
        let mut attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        if attended.is_over {
            drop(userns::pidfd_send(&runtime, libc::SIGKILL));
        }
        attended.runtime = Some(runtime);
        Ok(())
    }

    /// The shell has ended.
    pub fn leave(&self) {
        self.attended.lock().unwrap_or_else(PoisonError::into_inner).runtime = None;
        self.left.notify_all();
    }

    /// Has the runtime of a container killed when the build is given up; at once if it is already.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch(&self, id: &str, pid: u32) -> Result<(), Error> {
        let runtime = open(pid)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_raised() {
            drop(userns::pidfd_send(&runtime, libc::SIGKILL));
        }
        running.insert(id.to_owned(), runtime);
        Ok(())
    }

    /// The container has ended, and is removed where it was made to end.
    pub fn forget(&self, id: &str) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.gone.notify_all();
    }

    /// Waits until every container has ended.
    pub fn wait_for_containers(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.gone.wait_while(running, |running| !running.is_empty()));
        let attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.left.wait_while(attended, |attended| attended.runtime.is_some()));
    }

    /// The error of a step that was cut short.
    #[must_use]
    pub fn error() -> Error {
        Error::new(Kind::System, "the build was interrupted")
    }
}

fn open(pid: u32) -> Result<OwnedFd, Error> {
    let pid = i32::try_from(pid).map_err(|_| Error::new(Kind::System, "a process id is too large"))?;
    userns::pidfd_open(pid).map_err(|error| Error::system("watch the runtime", error))
}
