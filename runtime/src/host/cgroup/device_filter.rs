//! Which devices may be used: files on v1, an eBPF program on v2.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{file, make};
use crate::error::Error;
use crate::plan::Need;
use crate::plan::cgroup::bpf;
use crate::plan::cgroup::devices::{Devices, Rule};
use crate::plan::cgroup::exceptions;
use crate::state;
use crate::sys;

/// The directory of v2.
#[derive(Debug, Clone, Copy)]
pub(super) enum Directory<'a> {
    /// Open, and just made: nothing is in force.
    New(&'a File),
    /// To be opened; something may be in force.
    Known,
}

/// Puts the rules in force, instead of those that were. Gives the program of v2, which is the kernel's from now on.
pub(super) fn apply(
    devices: &Devices,
    record: &state::Cgroup,
    directory: Directory<'_>,
) -> Result<Option<OwnedFd>, Error> {
    let v1 = record.dirs.iter().find(|dir| dir.controllers.iter().any(|own| own == "devices"));
    let v2 = record.dirs.iter().find(|dir| dir.version == 2);
    let done = match (v1, v2) {
        (Some(dir), _) => write_rules(&dir.path, &devices.rules).map(|()| None),
        (None, Some(dir)) => attach_program(&dir.path, &devices.rules, directory).map(Some),
        (None, None) => Ok(None),
    };
    match devices.enforce {
        Need::Required => done,
        Need::BestEffort => Ok(None),
    }
}

/// A rule about everything sets the state anew by itself.
fn write_rules(dir: &Path, rules: &[Rule]) -> Result<(), Error> {
    let exceptions = exceptions::exceptions(rules)?;
    for rule in std::iter::once(&exceptions.default).chain(&exceptions.rules) {
        let name = if rule.allow { "devices.allow" } else { "devices.deny" };
        file::write(dir, name, &rule.to_string())?;
    }
    Ok(())
}

/// The new program first, so that there is no moment without one; then those before it go.
fn attach_program(path: &Path, rules: &[Rule], directory: Directory<'_>) -> Result<OwnedFd, Error> {
    let wrong = |source| Error::system(format!("set the device rules of {}", path.display()), source);
    // Who may not attach any was refused when it was loaded.
    let refused = |source: std::io::Error| match source.raw_os_error() {
        Some(libc::EPERM) => {
            wrong(source).hint("a device program that allows no other is attached to it, or above it")
        }
        _ => wrong(source),
    };
    let program: Vec<u64> = bpf::program(rules).iter().map(bpf::Instruction::encode).collect();
    if program.len() > bpf::MOST {
        return Err(wrong(std::io::Error::from_raw_os_error(libc::E2BIG)));
    }
    let load = || sys::bpf::load(&program).map_err(wrong);
    let cgroup = match directory {
        Directory::New(cgroup) => {
            let loaded = load()?;
            sys::bpf::attach(cgroup, &loaded).map_err(refused)?;
            return Ok(loaded);
        }
        Directory::Known => make::handle(path)?,
    };
    let before = sys::bpf::attached(&cgroup).map_err(wrong)?;
    let loaded = load()?;
    sys::bpf::attach(&cgroup, &loaded).map_err(refused)?;
    for old in before {
        sys::bpf::detach(&cgroup, old).map_err(wrong)?;
    }
    Ok(loaded)
}
