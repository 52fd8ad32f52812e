//! Children that have ended, each reaped only once it is known whose it is.
//!
//! Invariant: a process id is never given back to the kernel while a runtime is at work that may be about to name it. An
//! `exec` process can end before the runtime has written its pid file; its zombie then keeps the number from being used
//! again, so an exit can be neither lost nor taken for another's.

use std::collections::BTreeMap;
use std::io;

use nix::unistd::Pid;

use crate::sys::wait::{Ended, Keep, Whose, ended};

/// Whether runtimes are at work that may still tell us of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strangers {
    MayBeOurs,
    AreOrphans,
}

/// Reaps every known child that has ended; unknown ones too, unless they may become known.
pub(crate) fn collect<T>(known: &BTreeMap<Pid, T>, strangers: Strangers) -> io::Result<Vec<Ended>> {
    let mut found = Vec::new();
    while let Some(next) = ended(Whose::Any, Keep::Zombie)? {
        if known.contains_key(&next.pid) {
            found.extend(ended(Whose::Only(next.pid), Keep::Nothing)?);
        } else if strangers == Strangers::AreOrphans {
            ended(Whose::Only(next.pid), Keep::Nothing)?;
        } else {
            // The kernel would show us this one again and again: ask for those we know, one by one.
            for pid in known.keys() {
                found.extend(ended(Whose::Only(*pid), Keep::Nothing)?);
            }
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// One test: `collect` sees every child of the test process.
    #[test]
    #[expect(clippy::zombie_processes, reason = "reaping them is what is tested")]
    fn a_stranger_keeps_its_number_until_it_is_known() {
        let start = |code: &str| {
            let child = Command::new("/bin/sh").args(["-c", code]).spawn().unwrap();
            Pid::from_raw(i32::try_from(child.id()).unwrap())
        };
        let (stranger, friend) = (start("exit 3"), start("exit 4"));
        let mut known = BTreeMap::from([(friend, ())]);
        let mut found = Vec::new();
        while found.is_empty() {
            found = collect(&known, Strangers::MayBeOurs).unwrap();
        }
        assert_eq!(found, [Ended { pid: friend, status: 4 }]);
        known = BTreeMap::from([(stranger, ())]);
        found.clear();
        while found.is_empty() {
            found = collect(&known, Strangers::MayBeOurs).unwrap();
        }
        assert_eq!(found, [Ended { pid: stranger, status: 3 }]);
        let signalled = start("kill -s RTMIN+3 $$");
        found.clear();
        while found.is_empty() {
            found = collect(&BTreeMap::from([(signalled, ())]), Strangers::AreOrphans).unwrap();
        }
        assert_eq!(found, [Ended { pid: signalled, status: 128 + 37 }]);
    }
}
