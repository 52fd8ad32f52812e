//! Limits for which systemd has a property: it writes them again whenever it reloads, so it has to know them.

use oci_spec::runtime::{LinuxMemory, LinuxResources};

use super::property::{self, Property, Value};
use super::v2;
use crate::error::Error;
use crate::plan::text::invalid;

/// The period of a quota that names none, for the kernel and systemd alike.
const PERIOD: u64 = 100_000;

/// What systemd would make of the quota, so that the files and its properties say the same.
pub fn fit(resources: &mut LinuxResources) {
    let Some(cpu) = resources.cpu_mut() else { return };
    let period = cpu.period().filter(|period| *period != 0).unwrap_or(PERIOD);
    let Some(quota) = cpu.quota().filter(|quota| *quota > 0) else { return };
    let per_second = u128::from(per_second(quota, period));
    cpu.set_quota(i64::try_from(per_second * u128::from(period) / 1_000_000).ok().or(Some(quota)));
}

/// systemd has one property for weight and idleness (a weight of 0, since 252), so it cannot have both.
pub fn ignore_weight_of_idle(resources: &mut LinuxResources, warnings: &mut Vec<String>) {
    let mut ignored = false;
    if let Some(cpu) = resources.cpu_mut().as_mut().filter(|cpu| cpu.idle() == Some(1)) {
        ignored |= cpu.shares().is_some_and(|shares| shares != 0);
        cpu.set_shares(None);
    }
    if let Some(unified) = resources.unified_mut()
        && unified.get("cpu.idle").is_some_and(|idle| idle.trim() == "1")
    {
        ignored |= unified.remove("cpu.weight").is_some();
    }
    if ignored {
        let text = "unable to apply both cpu.weight and cpu.idle to systemd, ignoring cpu.weight";
        warnings.push(text.to_owned());
    }
}

/// All properties: of the fields first, then of the files named in `unified`, which come last in the files too.
pub fn limits(resources: &LinuxResources) -> Result<Vec<Property>, Error> {
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        add_memory(memory, &mut all)?;
    }
    if let Some(pids) = resources.pids() {
        all.push(number("TasksMax", v2::pids_max(pids.limit()).parse().unwrap_or(u64::MAX)));
    }
    if let Some(cpu) = resources.cpu() {
        match (cpu.idle(), cpu.shares().filter(|shares| *shares != 0)) {
            (Some(1), _) => all.push(number(property::WEIGHT, property::IDLE)),
            (_, Some(shares)) => all.push(number(property::WEIGHT, v2::weight_of_shares(shares))),
            _ => {}
        }
        add_quota(cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0), &mut all);
        for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                all.push(Property::new(name, Value::Bytes(bits(list, name)?)));
            }
        }
    }
    add_unified(resources, &mut all)?;
    Ok(all)
}

fn number(name: &str, value: u64) -> Property {
    Property::new(name, Value::U64(value))
}

fn add_memory(memory: &LinuxMemory, all: &mut Vec<Property>) -> Result<(), Error> {
    let or_infinity = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let limit = memory.limit().unwrap_or(0);
    if limit != 0 {
        all.push(number("MemoryMax", or_infinity(limit)));
    }
    if let Some(low) = memory.reservation().filter(|low| *low != 0) {
        all.push(number("MemoryLow", or_infinity(low)));
    }
    if let Some(swap) = v2::swap_alone(limit, memory.swap().unwrap_or(0))? {
        all.push(number("MemorySwapMax", swap.parse().unwrap_or(u64::MAX)));
    }
    Ok(())
}

fn add_quota(quota: i64, period: u64, all: &mut Vec<Property>) {
    if period != 0 {
        all.push(number("CPUQuotaPeriodUSec", period));
    }
    if quota != 0 || period != 0 {
        all.push(number("CPUQuotaPerSecUSec", per_second(quota, period)));
    }
}

/// systemd counts what is used in a second, in steps of ten milliseconds, upwards.
fn per_second(quota: i64, period: u64) -> u64 {
    let period = if period == 0 { PERIOD } else { period };
    match u64::try_from(quota) {
        Ok(quota) if quota > 0 => (quota.saturating_mul(1_000_000) / period).div_ceil(10_000) * 10_000,
        _ => u64::MAX,
    }
}

/// Files of `unified` that have a property.
fn add_unified(resources: &LinuxResources, all: &mut Vec<Property>) -> Result<(), Error> {
    let mut files: Vec<(&str, &str)> =
        resources.unified().iter().flatten().map(|(file, value)| (file.as_str(), value.trim())).collect();
    files.sort_unstable();
    for (file, value) in files {
        let wrong = || invalid(format!("linux.resources.unified.{file}"), format!("{value:?} is no limit"));
        let limit = || match value {
            "max" => Ok(u64::MAX),
            value => value.parse::<u64>().map_err(|_| wrong()),
        };
        match file {
            "cpu.max" => {
                let (quota, period) = quota(value).ok_or_else(wrong)?;
                add_quota(quota, period, all);
            }
            "cpu.idle" if value == "1" => all.push(number(property::WEIGHT, property::IDLE)),
            "cpu.weight" => all.push(number(property::WEIGHT, value.parse().map_err(|_| wrong())?)),
            "cpuset.cpus" => all.push(Property::new("AllowedCPUs", Value::Bytes(bits(value, file)?))),
            "cpuset.mems" => all.push(Property::new("AllowedMemoryNodes", Value::Bytes(bits(value, file)?))),
            "memory.high" => all.push(number("MemoryHigh", limit()?)),
            "memory.low" => all.push(number("MemoryLow", limit()?)),
            "memory.max" => all.push(number("MemoryMax", limit()?)),
            "memory.min" => all.push(number("MemoryMin", limit()?)),
            "memory.swap.max" => all.push(number("MemorySwapMax", limit()?)),
            "pids.max" => all.push(number("TasksMax", limit()?.max(1))),
            _ => {}
        }
    }
    Ok(())
}

/// `QUOTA [PERIOD]`; no quota is 0.
fn quota(value: &str) -> Option<(i64, u64)> {
    let mut words = value.split_ascii_whitespace();
    let quota = match words.next()? {
        "max" => 0,
        number => number.parse().ok()?,
    };
    let period = words.next().map_or(Some(PERIOD), |number| number.parse().ok())?;
    words.next().is_none().then_some((quota, period))
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
    fn quotas_are_rounded_up_to_ten_milliseconds() {
        assert_eq!(per_second(50_000, 100_000), 500_000);
        assert_eq!(per_second(1, 100_000), 10_000);
        assert_eq!(per_second(0, 100_000), u64::MAX);
        assert_eq!(per_second(-1, 0), u64::MAX);
    }

    #[test]
    fn the_file_gets_the_quota_that_systemd_rounds_to() {
        let fitted = |quota, period| {
            let text = format!("{{\"cpu\":{{\"quota\":{quota},\"period\":{period}}}}}");
            let mut resources: LinuxResources = serde_json::from_str(&text).unwrap();
            fit(&mut resources);
            resources.cpu().as_ref().and_then(|cpu| cpu.quota())
        };
        assert_eq!(fitted(500_000, 900_000), Some(504_000));
        assert_eq!(fitted(50_000, 100_000), Some(50_000));
        assert_eq!(fitted(-1, 100_000), Some(-1));
    }

    #[test]
    fn files_of_unified_have_properties_too() {
        let text = r#"{"unified": {"memory.min": "131072", "memory.max": "max", "pids.max": "0", "cpu.max": "5000 50000",
            "cpu.weight": "42", "cpuset.cpus": "0-1,9", "io.max": "8:0 rbps=1"}}"#;
        let all = limits(&serde_json::from_str(text).unwrap()).unwrap();
        let expected = [
            number("CPUQuotaPeriodUSec", 50_000),
            number("CPUQuotaPerSecUSec", 100_000),
            number("CPUWeight", 42),
            Property::new("AllowedCPUs", Value::Bytes(vec![3, 2])),
            number("MemoryMax", u64::MAX),
            number("MemoryMin", 131_072),
            number("TasksMax", 1),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn idle_and_weight_exclude_each_other() {
        for text in
            [r#"{"cpu": {"idle": 1, "shares": 200}}"#, r#"{"unified": {"cpu.idle": "1", "cpu.weight": "8"}}"#]
        {
            let mut warnings = Vec::new();
            let mut resources = serde_json::from_str(text).unwrap();
            ignore_weight_of_idle(&mut resources, &mut warnings);
            assert_eq!(limits(&resources).unwrap(), [number("CPUWeight", 0)], "{text}");
            let said = ["unable to apply both cpu.weight and cpu.idle to systemd, ignoring cpu.weight"];
            assert_eq!(warnings, said, "{text}");
        }
    }
}
