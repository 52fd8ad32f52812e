//! What is set by writing below /proc: always by a handle of the host's own proc, never by a path of the container.
//!
//! `self` and `sys` there are those of whoever looks, so that init sees its own namespaces' parameters (CVE-2025-52881).

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::Error;
use crate::plan::Need;
use crate::plan::process::{Labels, OomScore};
use crate::plan::sysctl::Sysctl;
use crate::sys::path;

/// Writes a file of proc.
pub fn write(proc: &OwnedFd, file: &Path, text: &str) -> std::io::Result<()> {
    let open = path::open_on(proc, file, OFlag::O_WRONLY)?;
    nix::unistd::write(&open, text.as_bytes())?;
    Ok(())
}

/// Reads a short file of proc.
pub fn read(proc: &OwnedFd, file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let open = path::open_on(proc, file, OFlag::O_RDONLY)?;
    let mut text = String::new();
    std::fs::File::from(open).take(1 << 16).read_to_string(&mut text)?;
    Ok(text)
}

/// The kernel parameters.
pub fn set_sysctls(proc: &OwnedFd, sysctls: &[Sysctl]) -> Result<(), Error> {
    for sysctl in sysctls {
        write(proc, &Path::new("sys").join(&sysctl.file), &sysctl.value).map_err(|source| {
            Error::system(format!("write {:?} to /proc/sys/{}", sysctl.value, sysctl.file.display()), source)
        })?;
    }
    Ok(())
}

/// The offsets of the new time namespace.
pub fn set_time_offsets(proc: &OwnedFd, offsets: &[(String, i64, u32)]) -> Result<(), Error> {
    if offsets.is_empty() {
        return Ok(());
    }
    let lines: String =
        offsets.iter().map(|(clock, secs, nanos)| format!("{clock} {secs} {nanos}\n")).collect();
    write(proc, Path::new("self/timens_offsets"), &lines)
        .map_err(|source| Error::system("write /proc/self/timens_offsets", source))
}

/// Gives a warning instead of an error where the plan allows it.
pub fn set_oom_score(proc: &OwnedFd, score: OomScore) -> Result<Option<String>, Error> {
    let written = write(proc, Path::new("self/oom_score_adj"), &score.value.to_string());
    let error = match written {
        Ok(()) => return Ok(None),
        Err(source) => Error::system(format!("set the OOM score to {}", score.value), source),
    };
    match (score.need, error.errno()) {
        (Need::BestEffort, Some(libc::EACCES | libc::EPERM)) => Ok(Some(error.to_string())),
        _ => Err(error),
    }
}

/// For the execve to come.
pub fn set_exec_labels(proc: &OwnedFd, labels: &Labels) -> Result<(), Error> {
    if let Some(profile) = &labels.apparmor {
        let text = format!("exec {profile}");
        write(proc, Path::new("self/attr/apparmor/exec"), &text)
            .or_else(|_| write(proc, Path::new("self/attr/exec"), &text))
            .map_err(|source| Error::system(format!("apply apparmor profile {profile}"), source))?;
    }
    match &labels.selinux {
        None => Ok(()),
        Some(label) => write(proc, Path::new("self/attr/exec"), label)
            .map_err(|source| Error::system(format!("set the SELinux label {label}"), source)),
    }
}
