//! The modes of files in images do not depend on the user's umask.

use std::sync::{Mutex, PoisonError};

use nix::sys::stat::{Mode, umask};

/// While one lives, a file that is made has its mode without writing for others: that of the process's shells in containers too.
/// The user's umask is back when the last is gone, for the files that the user gets.
#[derive(Debug)]
pub struct Usual(());

/// How many live, and the umask before the first.
static LIVING: Mutex<(usize, Mode)> = Mutex::new((0, Mode::empty()));

impl Usual {
    /// Sets it, for all threads of this process and what they start.
    #[must_use]
    pub fn set() -> Self {
        let mut living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        if living.0 == 0 {
            living.1 = umask(Mode::S_IWGRP | Mode::S_IWOTH);
        }
        living.0 += 1;
        Self(())
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        let mut living = LIVING.lock().unwrap_or_else(PoisonError::into_inner);
        living.0 = living.0.saturating_sub(1);
        if living.0 == 0 {
            umask(living.1);
        }
    }
}
