//! The transient scope that systemd makes for a container: its name, its slice, its properties.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};

use super::{limits, property};
use crate::error::{Error, Kind};
use crate::plan::caps;
use crate::plan::facts::Facts;
use crate::plan::text::invalid;

pub use limits::{fit, ignore_weight_of_idle, limits};
pub use property::{Property, Value};

/// What systemd is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub unit: String,
    pub slice: String,
    pub bus: Bus,
    /// Besides `PIDs`, which is known once there is a process.
    pub properties: Vec<Property>,
}

/// Whose systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    System,
    User,
}

/// Reads `slice:prefix:name`; without it, the scope is named after the container.
pub(super) fn plan(
    spec: &Spec,
    resources: &LinuxResources,
    (id, facts): (&str, &Facts),
) -> Result<Scope, Error> {
    let linux = spec.linux().as_ref();
    let asked = linux.and_then(|linux| linux.cgroups_path().as_deref()).map(Path::to_string_lossy);
    let bus = match facts.caller.may_on_host(caps::SYS_ADMIN) {
        true => Bus::System,
        false => Bus::User,
    };
    let (slice, prefix, name) = match asked.as_deref().filter(|path| !path.is_empty()) {
        None => (String::new(), "runc".to_owned(), id.to_owned()),
        Some(path) => match path.split(':').collect::<Vec<_>>()[..] {
            [slice, prefix, name] => (slice.to_owned(), prefix.to_owned(), name.to_owned()),
            _ => {
                let reason = format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                );
                return Err(invalid("linux.cgroupsPath", reason));
            }
        },
    };
    let slice = match (slice.as_str(), bus) {
        ("", Bus::System) => "system.slice".to_owned(),
        ("", Bus::User) => "user.slice".to_owned(),
        _ => slice,
    };
    let unit = unit(&prefix, &name)?;
    let mut properties = vec![
        Property::new("Description", Value::Text(format!("libcontainer container {id}"))),
        Property::new("Slice", Value::Text(slice.clone())),
        Property::new("Delegate", Value::Bool(true)),
        Property::new("DefaultDependencies", Value::Bool(false)),
    ];
    for accounting in ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"] {
        properties.push(Property::new(accounting, Value::Bool(true)));
    }
    properties.extend(limits::limits(resources)?);
    properties.extend(oom_policy(resources));
    let annotations = spec.annotations().iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
    properties.extend(property::from_annotations(annotations)?);
    Ok(Scope { unit, slice, bus, properties })
}

/// Of a delegated scope systemd would write 0 with the next change of its memory.
fn oom_policy(resources: &LinuxResources) -> Option<Property> {
    let group = resources.unified().as_ref()?.get("memory.oom.group")?;
    let policy = match group.trim() {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    Some(Property::new(property::OOM, Value::Text(policy.to_owned())))
}

/// A name that systemd takes for one unit, and nothing that could be a path or a second word.
fn unit(prefix: &str, name: &str) -> Result<String, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-' | '.' | '\\' | '@');
    let unit = match (prefix, name.ends_with(".slice")) {
        (_, true) => {
            let text =
                format!("config.json: linux.cgroupsPath: {name:?}: a container cannot be a slice of its own");
            return Err(Error::new(Kind::Unsupported, text));
        }
        ("", _) => format!("{name}.scope"),
        (prefix, _) => format!("{prefix}-{name}.scope"),
    };
    match !name.is_empty() && unit.len() < 256 && unit.chars().all(allowed) {
        true => Ok(unit),
        false => Err(invalid("linux.cgroupsPath", format!("{unit:?} is no name of a unit"))),
    }
}

/// Where the scope's cgroup is, below the mount: `a-b.slice` is `a.slice/a-b.slice` (systemd.slice(5)).
pub(super) fn path(scope: &Scope, facts: &Facts) -> Result<PathBuf, Error> {
    let mut path = match scope.bus {
        Bus::System => PathBuf::new(),
        Bus::User => {
            let uid = facts.caller.outer_uid;
            PathBuf::from(format!("user.slice/user-{uid}.slice/user@{uid}.service"))
        }
    };
    path.push(expand(&scope.slice)?);
    path.push(&scope.unit);
    Ok(path)
}

fn expand(slice: &str) -> Result<PathBuf, Error> {
    let wrong = || invalid("linux.cgroupsPath", format!("invalid slice name: {slice}"));
    let name = slice
        .strip_suffix(".slice")
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .ok_or_else(wrong)?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let mut sofar = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        if !sofar.is_empty() {
            sofar.push('-');
        }
        sofar.push_str(part);
        path.push(format!("{sofar}.slice"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_below_its_parents() {
        assert_eq!(expand("a-b-c.slice").unwrap(), PathBuf::from("a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(expand("-.slice").unwrap(), PathBuf::new());
        for bad in ["a", ".slice", "a--b.slice", "-a.slice", "a/b.slice"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
