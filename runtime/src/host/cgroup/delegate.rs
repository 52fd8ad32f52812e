//! Gives a directory of v2 to the container's root.

use std::path::Path;

use crate::error::Error;
use crate::plan::cgroup::Cgroup;
use crate::state;

/// The directory and the files that the kernel lists as safe to give away: no limit of the container is among them.
pub(super) fn give(plan: &Cgroup, record: &state::Cgroup) -> Result<(), Error> {
    let Some(owner) = plan.owner else { return Ok(()) };
    let Some(dir) = record.dirs.iter().find(|dir| dir.version == 2) else { return Ok(()) };
    // Since Linux 4.15; the specification names what there was before, and what a masked /sys does not show.
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads".to_owned());
    change(&dir.path, owner)?;
    // One without its controller, or of a later kernel, is not there.
    let files = list.lines().map(|name| dir.path.join(name)).filter(|path| path.exists());
    files.into_iter().try_for_each(|path| change(&path, owner))
}

fn change(path: &Path, owner: u32) -> Result<(), Error> {
    std::os::unix::fs::lchown(path, Some(owner), None)
        .map_err(|source| Error::system(format!("give {} to uid {owner}", path.display()), source))
}
