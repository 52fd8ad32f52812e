//! Writes settings into the files of a cgroup.

use std::path::Path;

use super::file;
use crate::error::{Error, Kind};
use crate::plan::cgroup::{How, Setting};
use crate::state;

/// Every setting, in order. What the kernel takes only after its neighbours is tried once more at the end.
pub fn limit(settings: &[Setting], record: &state::Cgroup) -> Result<(), Error> {
    let mut again = Vec::new();
    for setting in settings {
        let dir = directory(setting, record)?;
        match one(setting, dir) {
            Err(error) if setting.how == How::Retry && error.errno() == Some(libc::EINVAL) => {
                again.push((setting, dir));
            }
            other => other?,
        }
    }
    for (setting, dir) in again {
        file::write(dir, &setting.file, &setting.value)?;
    }
    Ok(())
}

/// The refusals of `limit` alone, with nothing written.
pub fn refuse_in_use(settings: &[Setting], record: &state::Cgroup) -> Result<(), Error> {
    for setting in settings {
        if let How::UnlessInUse { with_swap } = setting.how {
            check_use((setting, with_swap), directory(setting, record)?)?;
        }
    }
    Ok(())
}

fn directory<'a>(setting: &Setting, record: &'a state::Cgroup) -> Result<&'a Path, Error> {
    let has = |dir: &&state::CgroupDir| dir.controllers.contains(&setting.controller);
    let dirs = &record.dirs;
    let found = dirs.iter().find(has).or_else(|| dirs.iter().find(|dir| dir.version == 2));
    found.map(|dir| dir.path.as_path()).ok_or_else(|| {
        let text = format!(
            "set {}: the container is in no cgroup of the {} controller",
            setting.file, setting.controller
        );
        Error::new(Kind::Unsupported, text)
    })
}

fn one(setting: &Setting, dir: &Path) -> Result<(), Error> {
    let Setting { file: name, value, .. } = setting;
    match &setting.how {
        How::Write | How::Retry => plain(setting, dir, name, value),
        How::IfThere => match file::write(dir, name, value) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
            other => other,
        },
        How::Or(other_name, other_value) => match file::write(dir, name, value) {
            Err(error) if error.errno() == Some(libc::ENOENT) => plain(setting, dir, other_name, other_value),
            other => other,
        },
        How::UnlessInUse { with_swap } => {
            check_use((setting, *with_swap), dir)?;
            plain(setting, dir, name, value)
        }
        How::WithSwap { swap_file, swap } => with_swap(setting, dir, (swap_file, swap)),
    }
}

/// A file that is not there means a controller that is not enabled.
fn plain(setting: &Setting, dir: &Path, name: &str, value: &str) -> Result<(), Error> {
    file::write(dir, name, value).map_err(|error| match error.errno() {
        Some(libc::ENOENT | libc::EACCES) if !dir.join(name).exists() => {
            let text = format!(
                "set {name}: the {} controller is not available in {}",
                setting.controller,
                dir.display()
            );
            Error::new(Kind::Unsupported, text)
        }
        Some(libc::EBUSY) if name == "memory.limit_in_bytes" => {
            let now = |file: &str| file::number(dir, file).unwrap_or(0);
            let text = format!(
                "unable to set memory limit to {value} (current usage: {}, peak usage: {})",
                now("memory.usage_in_bytes"),
                now("memory.max_usage_in_bytes")
            );
            Error::new(Kind::System, text)
        }
        _ => error,
    })
}

fn check_use((setting, with_swap): (&Setting, Option<u64>), dir: &Path) -> Result<(), Error> {
    let used = file::number(dir, "memory.current").or_else(|| file::number(dir, "memory.usage_in_bytes"));
    let Some(used) = used else { return Ok(()) };
    // The sum first, as runc has it.
    for (what, wanted) in [("memory+swap", with_swap), ("memory", setting.value.parse().ok())] {
        if let Some(wanted) = wanted.filter(|wanted| *wanted <= used) {
            let text = format!("rejecting {what} limit {wanted} because current usage is {used}");
            return Err(Error::new(Kind::Invalid, text));
        }
    }
    Ok(())
}

/// The kernel refuses a sum below the memory's own limit at every moment: what grows goes first.
fn with_swap(setting: &Setting, dir: &Path, (swap_file, swap): (&str, &str)) -> Result<(), Error> {
    let memory = || plain(setting, dir, &setting.file, &setting.value);
    if swap.is_empty() {
        return match dir.join(swap_file).exists() {
            true => file::write(dir, swap_file, "-1").and_then(|()| memory()),
            false => memory(),
        };
    }
    let now = file::number(dir, &setting.file).unwrap_or(u64::MAX);
    let grows = swap == "-1" || swap.parse().is_ok_and(|swap: u64| now < swap);
    match grows {
        true => plain(setting, dir, swap_file, swap).and_then(|()| memory()),
        false => memory().and_then(|()| plain(setting, dir, swap_file, swap)),
    }
}
