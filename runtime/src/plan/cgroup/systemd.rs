//! The transient scope that systemd makes for a container: its name, its slice, its properties.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Spec};

use super::{property, v2};
use crate::error::{Error, Kind};
use crate::plan::caps;
use crate::plan::facts::Facts;
use crate::plan::text::invalid;

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
pub(super) fn plan(spec: &Spec, id: &str, facts: &Facts) -> Result<Scope, Error> {
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
    let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let mut properties = vec![
        Property::new("Description", Value::Text(format!("libcontainer container {id}"))),
        Property::new("Slice", Value::Text(slice.clone())),
        Property::new("Delegate", Value::Bool(true)),
        Property::new("DefaultDependencies", Value::Bool(false)),
    ];
    for accounting in ["CPUAccounting", "MemoryAccounting", "IOAccounting", "TasksAccounting"] {
        properties.push(Property::new(accounting, Value::Bool(true)));
    }
    properties.extend(limits(&resources)?);
    let annotations = spec.annotations().iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
    properties.extend(property::from_annotations(annotations)?);
    Ok(Scope { unit, slice, bus, properties })
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

/// Limits for which systemd has a property: it writes them again whenever it reloads.
pub fn limits(resources: &LinuxResources) -> Result<Vec<Property>, Error> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: u64| all.push(Property::new(name, Value::U64(value)));
    let or_infinity = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().unwrap_or(0);
        if limit != 0 {
            add("MemoryMax", or_infinity(limit));
        }
        if let Some(low) = memory.reservation().filter(|low| *low != 0) {
            add("MemoryLow", or_infinity(low));
        }
        if let Some(swap) = v2::swap_alone(limit, memory.swap().unwrap_or(0))? {
            add("MemorySwapMax", swap.parse().unwrap_or(u64::MAX));
        }
    }
    if let Some(pids) = resources.pids() {
        add("TasksMax", v2::pids_max(pids.limit()).parse().unwrap_or(u64::MAX));
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            add("CPUWeight", v2::weight_of_shares(shares));
        }
        let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
        if period != 0 {
            add("CPUQuotaPeriodUSec", period);
        }
        if quota != 0 || period != 0 {
            add("CPUQuotaPerSecUSec", per_second(quota, period));
        }
        for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                all.push(Property::new(name, Value::Bytes(bits(list, name)?)));
            }
        }
    }
    Ok(all)
}

/// systemd counts what is used in a second, in steps of ten milliseconds, upwards.
fn per_second(quota: i64, period: u64) -> u64 {
    let period = if period == 0 { 100_000 } else { period };
    match u64::try_from(quota) {
        Ok(quota) if quota > 0 => (quota.saturating_mul(1_000_000) / period).div_ceil(10_000) * 10_000,
        _ => u64::MAX,
    }
}

/// One bit for each number of the list, least first.
fn bits(list: &str, field: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for number in crate::plan::sched::cpus(Some(list), field)?.unwrap_or_default() {
        let at = usize::try_from(number / 8).unwrap_or(0);
        if bytes.len() <= at {
            bytes.resize(at + 1, 0u8);
        }
        if let Some(byte) = bytes.get_mut(at) {
            *byte |= 1 << (number % 8);
        }
    }
    Ok(bytes)
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

    #[test]
    fn quotas_are_rounded_up_to_ten_milliseconds() {
        assert_eq!(per_second(50_000, 100_000), 500_000);
        assert_eq!(per_second(1, 100_000), 10_000);
        assert_eq!(per_second(0, 100_000), u64::MAX);
        assert_eq!(per_second(-1, 0), u64::MAX);
    }

    #[test]
    fn processors_are_bits() {
        assert_eq!(bits("0-1,9", "x").unwrap(), [3, 2]);
    }
}
