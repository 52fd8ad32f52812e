//! What the kernel itself asks for a container: a static program that clones with the same namespaces, makes the root file system
//! the root, executes the container's program in it and waits. Whatever a runtime takes beyond this is its own, or what the
//! configuration asks for (mounts, masks, devices, cgroup).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::measure::Sample;
use crate::sys::usage;

/// One round.
pub(super) fn once(probe: &Path, root: &Path) -> Result<Sample> {
    let mut command = Command::new(probe);
    command.arg("contain").arg(root).arg("/bin/true").stdin(Stdio::null()).stdout(Stdio::null());
    let begin = Instant::now();
    let child = command.spawn()?;
    let ended = usage::wait(i32::try_from(child.id())?)?;
    let wall = begin.elapsed();
    ensure!(ended.code == 0, "the floor's program gave {}", ended.code);
    let usage::Usage { cpu, faults } = ended.usage;
    Ok(Sample { wall, cpu, faults })
}
