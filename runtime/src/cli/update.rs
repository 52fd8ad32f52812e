//! `update`: other limits for a container that exists.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use super::Global;
use crate::bundle;
use crate::error::{Error, Kind};
use crate::host::cgroup::{self, file};
use crate::host::{rdt, remove};
use crate::plan;
use crate::plan::cgroup::{Place, Version, settings, systemd};
use crate::state::{self, ContainerId, Record, Status};

/// update container resource constraints
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// path to the file containing the resources to update or '-' to read from the standard input;
    /// all other options are ignored then
    #[arg(short, long, value_name = "string")]
    resources: Option<PathBuf>,
    /// Specifies per cgroup weight, range is from 10 to 1000
    #[arg(long, value_name = "int")]
    blkio_weight: Option<String>,
    /// CPU CFS period to be used for hardcapping (in usecs). 0 to use system default
    #[arg(long, value_name = "string")]
    cpu_period: Option<String>,
    /// CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period
    #[arg(long, value_name = "string", allow_negative_numbers = true)]
    cpu_quota: Option<String>,
    /// CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period
    #[arg(long, value_name = "string")]
    cpu_burst: Option<String>,
    /// CPU shares (relative weight vs. other containers)
    #[arg(long, value_name = "string")]
    cpu_share: Option<String>,
    /// CPU realtime period to be used for hardcapping (in usecs). 0 to use system default
    #[arg(long, value_name = "string")]
    cpu_rt_period: Option<String>,
    /// CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period
    #[arg(long, value_name = "string", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<String>,
    /// CPU(s) to use
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// Memory node(s) to use
    #[arg(long, value_name = "string")]
    cpuset_mems: Option<String>,
    /// (obsoleted; do not use)
    #[arg(long, value_name = "string", hide = true)]
    kernel_memory: Option<String>,
    /// (obsoleted; do not use)
    #[arg(long, value_name = "string", hide = true)]
    kernel_memory_tcp: Option<String>,
    /// Memory limit (in bytes)
    #[arg(long, value_name = "string", allow_negative_numbers = true)]
    memory: Option<String>,
    /// set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE
    #[arg(long, value_name = "string", allow_negative_numbers = true)]
    cpu_idle: Option<String>,
    /// Memory reservation or soft_limit (in bytes)
    #[arg(long, value_name = "string", allow_negative_numbers = true)]
    memory_reservation: Option<String>,
    /// Total memory usage (memory + swap); set '-1' to enable unlimited swap
    #[arg(long, value_name = "string", allow_negative_numbers = true)]
    memory_swap: Option<String>,
    /// Maximum number of pids allowed in the container
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    pids_limit: Option<String>,
    /// The string of Intel RDT/CAT L3 cache schema
    #[arg(long, value_name = "string")]
    l3_cache_schema: Option<String>,
    /// The string of Intel RDT/MBA memory bandwidth schema
    #[arg(long, value_name = "string")]
    mem_bw_schema: Option<String>,
    #[arg(value_name = "container-id")]
    id: String,
}

pub(super) fn update(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let id = ContainerId::parse(&args.id)?;
    let root = global.root()?;
    let (record, config) = root.load_all(&id)?;
    if remove::status(&record, &root.dir(&id))? == Status::Stopped {
        return Err(Error::new(Kind::Invalid, "container not running"));
    }
    let schemata = schemata(args, &record)?;
    let mut resources = match &args.resources {
        Some(path) => bundle::resources(&read(path)?, &path.display().to_string())?,
        None => from_flags(args)?,
    };
    let memory = resources.memory().as_ref();
    let of_kernel = memory.is_some_and(|memory| memory.kernel().is_some() || memory.kernel_tcp().is_some());
    if of_kernel || args.kernel_memory.is_some() || args.kernel_memory_tcp.is_some() {
        global.log.warn("Kernel memory settings are ignored and will be removed");
    }
    // Only limits are changed: device rules may have been set by others since.
    resources.set_devices(None);
    let by_systemd = matches!(record.cgroup.driver, state::Driver::Systemd { .. });
    if by_systemd {
        let mut warnings = Vec::new();
        systemd::ignore_weight_of_idle(&mut resources, &mut warnings);
        global.warn(&warnings);
    }
    let sum = sum(&resources);
    complete(&mut resources, (&record, &config))?;
    let places: Vec<Place> = record.cgroup.dirs.iter().map(place).collect();
    if by_systemd {
        systemd::fit(&mut resources);
    }
    // Before anything is written, by systemd too: of a refused update nothing stays.
    cgroup::refuse_in_use(&settings(&resources, &places)?, &record.cgroup)?;
    if by_systemd {
        cgroup::tell(&record.cgroup, &systemd::limits(&resources)?)?;
    }
    cgroup::limit(&settings(&resources, &places)?, &record.cgroup)?;
    remember(&root, &id, sum)?;
    if let (Some(group), Some(schemata)) = (&record.rdt, schemata) {
        rdt::set(group, &schemata)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines for the container's resctrl group, which has to be there.
fn schemata(args: &Args, record: &Record) -> Result<Option<String>, Error> {
    let (cache, bandwidth) = (given(&args.l3_cache_schema), given(&args.mem_bw_schema));
    let text = match (cache, bandwidth) {
        (None, None) => return Ok(None),
        _ if record.rdt.is_some() => return plan::rdt::compose(cache, bandwidth).map(Some),
        (Some(_), _) => "Intel RDT/CAT: l3 cache schema is not enabled",
        _ => "Intel RDT/MBA: memory bandwidth schema is not enabled",
    };
    Err(Error::new(Kind::Unsupported, text).hint("the container was created without linux.intelRdt"))
}

fn read(path: &std::path::Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map(|_| text).map_err(|source| Error::system(format!("read {}", path.display()), source))
}

fn place(dir: &state::CgroupDir) -> Place {
    Place {
        version: if dir.version == 1 { Version::V1 } else { Version::V2 },
        controllers: dir.controllers.clone(),
        mount: dir.mount.clone(),
        path: dir.path.strip_prefix(&dir.mount).unwrap_or(&dir.path).to_owned(),
        own: PathBuf::new(),
    }
}

/// The flags as the JSON that they stand for.
fn from_flags(args: &Args) -> Result<LinuxResources, Error> {
    let mut memory = Map::new();
    for (flag, key, value) in [
        ("memory", "limit", &args.memory),
        ("memory-reservation", "reservation", &args.memory_reservation),
        ("memory-swap", "swap", &args.memory_swap),
    ] {
        if let Some(text) = given(value) {
            memory.insert(key.to_owned(), bytes(text).ok_or_else(|| invalid(flag, text))?.into());
        }
    }
    let mut cpu = Map::new();
    for (flag, key, value) in [
        ("cpu-burst", "burst", &args.cpu_burst),
        ("cpu-period", "period", &args.cpu_period),
        ("cpu-rt-period", "realtimePeriod", &args.cpu_rt_period),
        ("cpu-share", "shares", &args.cpu_share),
    ] {
        if let Some(text) = given(value) {
            cpu.insert(key.to_owned(), text.parse::<u64>().map_err(|_| invalid(flag, text))?.into());
        }
    }
    for (flag, key, value) in [
        ("cpu-idle", "idle", &args.cpu_idle),
        ("cpu-quota", "quota", &args.cpu_quota),
        ("cpu-rt-runtime", "realtimeRuntime", &args.cpu_rt_runtime),
    ] {
        if let Some(text) = given(value) {
            cpu.insert(key.to_owned(), text.parse::<i64>().map_err(|_| invalid(flag, text))?.into());
        }
    }
    for (key, value) in [("cpus", &args.cpuset_cpus), ("mems", &args.cpuset_mems)] {
        if let Some(text) = given(value) {
            cpu.insert(key.to_owned(), text.into());
        }
    }
    let mut all = Map::new();
    all.insert("memory".to_owned(), Value::Object(memory));
    all.insert("cpu".to_owned(), Value::Object(cpu));
    if let Some(text) = given(&args.pids_limit) {
        let limit = text.parse::<i64>().map_err(|_| invalid("pids-limit", text))?;
        all.insert("pids".to_owned(), serde_json::json!({ "limit": limit }));
    }
    if let Some(text) = given(&args.blkio_weight) {
        let weight = text.parse::<u16>().map_err(|_| invalid("blkio-weight", text))?;
        all.insert("blockIO".to_owned(), serde_json::json!({ "weight": weight }));
    }
    bundle::resources(&Value::Object(all).to_string(), "update")
}

fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

fn invalid(flag: &str, text: &str) -> Error {
    Error::new(Kind::Invalid, format!("invalid value for {flag}: {text:?}"))
}

/// What the caller left out and the kernel takes only together with what was given: it stays as it is now.
fn complete(resources: &mut LinuxResources, (record, config): (&Record, &str)) -> Result<(), Error> {
    // On a hybrid host the limits are those of v1.
    let [v2] = record.cgroup.dirs.as_slice() else { return Ok(()) };
    if v2.version != 2 {
        return Ok(());
    }
    if let Some(cpu) = resources.cpu_mut() {
        let now = file::read_if_there(&v2.path, "cpu.max")?.unwrap_or_default();
        let mut now = now.split(' ');
        let (quota, period) = (now.next().unwrap_or("max"), now.next().and_then(|text| text.parse().ok()));
        let unset = |value: Option<i64>| value.unwrap_or(0) == 0;
        match (unset(cpu.quota()), cpu.period().unwrap_or(0) == 0) {
            (true, false) => drop(cpu.set_quota(quota.parse().ok())),
            (false, true) => drop(cpu.set_period(period)),
            _ => {}
        }
        // The kernel takes no weight for an idle group.
        if cpu.idle().is_some_and(|idle| idle != 0) {
            cpu.set_shares(None);
        }
    }
    if let Some(memory) = resources.memory_mut()
        && memory.limit().is_none()
        && memory.swap().is_some_and(|swap| swap > 0)
    {
        let now = file::read(&v2.path, "memory.max")?;
        memory.set_limit(Some(now.parse().unwrap_or(-1)));
    }
    if let Some(memory) = resources.memory_mut()
        && memory.limit().is_some_and(|limit| limit > 0)
        && memory.swap().is_none()
    {
        memory.set_swap(kept_sum(record, config)?);
    }
    Ok(())
}

/// The limit on memory and swap together, which v2 has no file for: with other memory the rest of it is the swap's. Not taken from
/// the files: what swap somebody else allows there, or `unified` does, has nothing to do with the memory.
fn kept_sum(record: &Record, config: &str) -> Result<Option<i64>, Error> {
    let sum = match record.memory_and_swap {
        Some(updated) => Some(updated),
        None => {
            let spec = bundle::recorded(config)?;
            let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
            resources.and_then(|resources| resources.memory().as_ref()?.swap())
        }
    };
    Ok(sum.filter(|sum| *sum != 0))
}

/// What is asked for as that sum; 0 is none. No limit on memory, without a word about swap, is no limit on both.
fn sum(resources: &LinuxResources) -> Option<i64> {
    let memory = resources.memory().as_ref()?;
    memory.swap().or_else(|| (memory.limit() == Some(-1)).then_some(0))
}

/// For the updates to come.
fn remember(root: &state::Root, id: &ContainerId, sum: Option<i64>) -> Result<(), Error> {
    let Some(sum) = sum else { return Ok(()) };
    let entry = root.locked(id)?;
    let (mut record, config) = root.load_all(id)?;
    record.memory_and_swap = Some(sum);
    entry.draft(&record, &config).and_then(|()| entry.publish())
}

/// A number of bytes, with a unit of powers of 1024 perhaps; -1 is no limit.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = (lower.get(..end)?, lower.get(end..)?.trim());
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    scaled(number, 1i64.checked_shl(10 * power)?)
}

/// Whole numbers exactly; a fraction as precisely as it is meant.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    if let Some((number, power)) = number.split_once('e') {
        return power_of_ten(number, power.parse().ok()?, unit);
    }
    match number.split_once('.') {
        None => digits(number)?.checked_mul(unit),
        Some(("", "")) => None,
        Some((whole, part)) => {
            let part = part.get(..part.len().min(6))?;
            let scale = 10i64.checked_pow(u32::try_from(part.len()).ok()?)?;
            let part = if part.is_empty() { 0 } else { digits(part)?.checked_mul(unit)? / scale };
            let whole = if whole.is_empty() { 0 } else { digits(whole)? };
            whole.checked_mul(unit)?.checked_add(part)
        }
    }
}

/// Without a sign.
fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `1e9`, `1.5e6`: Go's numbers have exponents.
fn power_of_ten(number: &str, power: i32, unit: i64) -> Option<i64> {
    let factor = 10i64.checked_pow(power.unsigned_abs())?;
    match power < 0 {
        true => Some(scaled(number, unit)? / factor),
        false => scaled(number, unit.checked_mul(factor)?),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_units_of_1024() {
        let known = [
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("20M", Some(20 << 20)),
            ("1.5g", Some(3 << 29)),
            ("10 KiB", Some(10240)),
            ("7b", Some(7)),
            (".5g", Some(1 << 29)),
            ("5.", Some(5)),
            ("1e9", Some(1_000_000_000)),
            ("1.5E3k", Some(1500 << 10)),
            ("25e-1k", Some(2560)),
            (".", None),
            ("e9", None),
            ("1ee9", None),
            ("+1", None),
            ("1e99", None),
            ("1 2", None),
            ("x", None),
            ("-2", None),
            ("99999999999999T", None),
        ];
        for (text, value) in known {
            assert_eq!(bytes(text), value, "{text}");
        }
    }
}
