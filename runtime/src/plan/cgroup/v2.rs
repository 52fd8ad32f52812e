//! Limits as cgroup v2 takes them: the specification counts as v1 did, so values are converted (config-linux.md; runc's
//! formulas, so that moving a container from host to host changes nothing).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::setting::{How, Setting};
use crate::error::{Error, Kind};
use crate::plan::text::invalid;

/// All settings, in the order of writing.
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>, Error> {
    let mut all = Vec::new();
    if let Some(pids) = resources.pids() {
        all.push(Setting::new("pids", "pids.max", pids_max(pids.limit())));
    }
    if let Some(memory) = resources.memory() {
        add_memory(memory, &mut all)?;
    }
    if let Some(io) = resources.block_io() {
        add_io(io, &mut all);
    }
    if let Some(cpu) = resources.cpu() {
        add_cpu(cpu, &mut all)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let (size, value) = (limit.page_size(), max(limit.limit()));
        all.push(Setting::new("hugetlb", format!("hugetlb.{size}.max"), &value));
        let reserved = Setting::new("hugetlb", format!("hugetlb.{size}.rsvd.max"), &value);
        all.push(reserved.how(How::IfThere));
    }
    add_rdma(resources, &mut all);
    add_unified(resources, &mut all)?;
    Ok(all)
}

/// 0 would forbid even the first process; systemd cannot set it, and runc takes it for 1.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        0 => "1".to_owned(),
        limit => max(limit),
    }
}

fn max(limit: i64) -> String {
    match limit < 0 {
        true => "max".to_owned(),
        false => limit.to_string(),
    }
}

fn add_memory(memory: &LinuxMemory, all: &mut Vec<Setting>) -> Result<(), Error> {
    let limit = memory.limit().unwrap_or(0);
    let check = memory.check_before_update().unwrap_or(false) && limit > 0;
    // Swap first: when both grow, the check against memory then already sees the new sum.
    let asked = memory.swap().unwrap_or(0);
    if let Some(swap) = swap_alone(limit, asked)? {
        let setting = Setting::new("memory", "memory.swap.max", &swap);
        // A kernel without swap accounting has no file: none and no limit are what it does anyway.
        let harmless = swap == "max" || swap == "0";
        all.push(if harmless { setting.how(How::IfThere) } else { setting });
    }
    if limit != 0 {
        let setting = Setting::new("memory", "memory.max", max(limit));
        let with_swap = u64::try_from(asked).ok().filter(|swap| *swap > 0);
        all.push(if check { setting.how(How::UnlessInUse { with_swap }) } else { setting });
    }
    if let Some(low) = memory.reservation().filter(|low| *low != 0) {
        all.push(Setting::new("memory", "memory.low", max(low)));
    }
    Ok(())
}

/// The specification's `swap` is memory and swap together; v2 counts swap alone.
pub(super) fn swap_alone(limit: i64, swap: i64) -> Result<Option<String>, Error> {
    let wrong = |reason: &str| Err(invalid("linux.resources.memory.swap", reason));
    match (limit, swap) {
        (-1, 0) | (_, -1) => Ok(Some("max".to_owned())),
        (_, 0) => Ok(None),
        (-1, swap) => Ok(Some(max(swap))),
        (0, _) => wrong("unable to set swap limit without memory limit"),
        (limit, _) if limit < 0 => wrong(&format!("invalid memory value: {limit}")),
        (limit, swap) if swap < limit => wrong("memory+swap limit should be >= memory limit"),
        (limit, swap) => Ok(Some((swap - limit).to_string())),
    }
}

fn add_cpu(cpu: &LinuxCpu, all: &mut Vec<Setting>) -> Result<(), Error> {
    if cpu.realtime_runtime().is_some_and(|us| us != 0) || cpu.realtime_period().is_some_and(|us| us != 0) {
        let text = "linux.resources.cpu: real-time limits do not exist on cgroup v2";
        return Err(Error::new(Kind::Unsupported, text));
    }
    if let Some(idle) = cpu.idle() {
        all.push(Setting::new("cpu", "cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        all.push(Setting::new("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    if let Some(burst) = cpu.burst() {
        all.push(Setting::new("cpu", "cpu.max.burst", burst).how(How::Retry));
    }
    if quota != 0 || period != 0 {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = if period == 0 { 100_000 } else { period };
        all.push(Setting::new("cpu", "cpu.max", format!("{quota} {period}")));
    }
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            all.push(Setting::new("cpuset", file, value));
        }
    }
    Ok(())
}

/// Fits v1's least, default and most (2, 1024, 262144) to v2's (1, 100, 10000).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

fn add_io(io: &LinuxBlockIo, all: &mut Vec<Setting>) {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let generic = 1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990;
        let or = How::Or("io.weight".to_owned(), generic.to_string());
        all.push(Setting::new("io", "io.bfq.weight", weight).how(or));
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else { continue };
        let value = format!("{}:{} {weight}", device.major(), device.minor());
        all.push(Setting::new("io", "io.bfq.weight", value).how(How::IfThere));
    }
    let throttles = [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {key}={}", device.major(), device.minor(), device.rate());
            all.push(Setting::new("io", "io.max", value));
        }
    }
}

fn add_rdma(resources: &LinuxResources, all: &mut Vec<Setting>) {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, limit) in devices {
        all.push(Setting::new("rdma", "rdma.max", rdma_line(name, limit)));
    }
}

/// One device's line, the same in both versions.
pub(super) fn rdma_line(name: &str, limit: &oci_spec::runtime::LinuxRdma) -> String {
    let part =
        |key: &str, value: Option<u32>| value.map(|value| format!(" {key}={value}")).unwrap_or_default();
    let (handles, objects) = (limit.hca_handles(), limit.hca_objects());
    format!("{name}{}{}", part("hca_handle", handles), part("hca_object", objects))
}

/// Files by name, after all others: the caller knows better.
fn add_unified(resources: &LinuxResources, all: &mut Vec<Setting>) -> Result<(), Error> {
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    for (file, value) in files {
        let place = format!("linux.resources.unified.{file}");
        match file.split_once('.') {
            Some((controller, _)) if !file.contains(['/', '\0']) && !controller.is_empty() => {
                // The kernel takes one line in a write, and these files have one for each device.
                let by_device = matches!(controller, "io" | "rdma" | "misc");
                let lines = value.split('\n').map(str::trim).filter(|line| !line.is_empty());
                match by_device && value.trim().contains('\n') {
                    true => all.extend(lines.map(|line| Setting::new(controller, file, line))),
                    false => all.push(Setting::new(controller, file, value)),
                }
            }
            _ => return Err(invalid(place, "must be a file name with a controller's prefix")),
        }
    }
    Ok(())
}
