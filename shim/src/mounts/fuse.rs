//! Filesystems that a program serves: `mount.fuse` and `mount.fuse3` start it, and end when it is there.

use std::path::Path;
use std::process::Command;

use containerd_shim_protos::types::mount::Mount;

use crate::error::{Doing, Error, Kind};
use crate::sys::child::{self, Io, Lifetime};
use crate::sys::fd;
use crate::sys::wait::{self, Keep, Whose};

/// The program that mounts `kind`, and the name it knows it by.
pub(super) fn helper(kind: &str) -> Option<(&'static str, &str)> {
    [("fuse.", "mount.fuse"), ("fuse3.", "mount.fuse3")]
        .into_iter()
        .find_map(|(prefix, program)| Some((program, kind.strip_prefix(prefix)?)))
}

/// Mounts what was asked for on `target`. The helper is waited for, as mount(2) is.
pub(super) fn mount(asked: &Mount, (program, kind): (&str, &str), target: &Path) -> Result<(), Error> {
    let doing = || format!("run {program} for {}", target.display());
    let said = fd::scratch().doing(doing)?;
    let copy = || said.try_clone().doing(doing);
    let mut command = Command::new(program);
    command.arg(&asked.source).arg(target);
    for option in &asked.options {
        command.args(["-o", option]);
    }
    command.args(["-t", kind]);
    let io = Io { stdout: Some(copy()?), stderr: Some(copy()?), ..Io::default() };
    let pid = child::spawn(command, io, Lifetime::Ours).doing(doing)?;
    wait::until_ended(pid).doing(doing)?;
    match wait::ended(Whose::Only(pid), Keep::Nothing).doing(doing)?.map(|ended| ended.status) {
        Some(0) => Ok(()),
        status => {
            let said = fd::contents(&said, 4096).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let status = status.map_or_else(|| "gone".into(), |status| format!("exit status {status}"));
            Err(Error::new(Kind::System, format!("{}: {status}: {}", doing(), said.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_prefixes_name_a_helper() {
        assert_eq!(helper("fuse3.fuse-overlayfs"), Some(("mount.fuse3", "fuse-overlayfs")));
        assert_eq!(helper("fuse.x"), Some(("mount.fuse", "x")));
        assert_eq!((helper("fuse"), helper("overlay")), (None, None));
    }
}
