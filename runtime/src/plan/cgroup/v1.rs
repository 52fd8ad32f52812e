//! Limits as the hierarchies of cgroup v1 take them.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::place::Place;
use super::setting::{How, Setting};
use super::v2;
use crate::error::{Error, Kind};
use crate::plan::text::invalid;

/// All settings, in the order of writing. Refused at once when a controller that they need is nowhere mounted.
pub(super) fn settings(resources: &LinuxResources, places: &[Place]) -> Result<Vec<Setting>, Error> {
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        // runc's words.
        return Err(Error::new(Kind::Invalid, "invalid configuration: cannot use unified on cgroup v1"));
    }
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        add_memory(memory, &mut all)?;
    }
    if let Some(cpu) = resources.cpu() {
        add_cpu(cpu, &mut all);
    }
    if let Some(pids) = resources.pids() {
        all.push(Setting::new("pids", "pids.max", v2::pids_max(pids.limit())));
    }
    if let Some(io) = resources.block_io() {
        add_io(io, &mut all);
    }
    add_hugetlb(resources, places, &mut all);
    let mut rdma: Vec<_> = resources.rdma().iter().flatten().collect();
    rdma.sort_by_key(|(name, _)| *name);
    all.extend(rdma.iter().map(|(name, limit)| Setting::new("rdma", "rdma.max", v2::rdma_line(name, limit))));
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            all.push(Setting::new("net_cls", "net_cls.classid", class));
        }
        for entry in network.priorities().iter().flatten() {
            let value = format!("{} {}", entry.name(), entry.priority());
            all.push(Setting::new("net_prio", "net_prio.ifpriomap", value));
        }
    }
    let missing = all.iter().find(|setting| find(places, &setting.controller).is_none());
    match missing {
        Some(setting) => Err(no_controller(setting)),
        None => Ok(all),
    }
}

/// The directory of a controller. On a hybrid host it may be v2 that has it: only hugetlb is laid out the same there.
pub(crate) fn find<'a>(places: &'a [Place], controller: &str) -> Option<&'a Place> {
    places.iter().find(|place| place.has(controller)).or_else(|| {
        places.iter().find(|place| place.controllers.is_empty() && matches!(controller, "hugetlb" | "rdma"))
    })
}

fn no_controller(setting: &Setting) -> Error {
    let text = format!("set {}: the {} controller is not mounted", setting.file, setting.controller);
    Error::new(Kind::Unsupported, text)
}

fn add_memory(memory: &LinuxMemory, all: &mut Vec<Setting>) -> Result<(), Error> {
    let limit = memory.limit().unwrap_or(0);
    let swap = memory.swap().unwrap_or(0);
    let swap_file = "memory.memsw.limit_in_bytes".to_owned();
    let unless_in_use = memory.check_before_update().unwrap_or(false) && limit > 0;
    match (limit, swap) {
        (0, 0) => {}
        (0, swap) => all.push(Setting::new("memory", swap_file, swap)),
        (limit, swap) => {
            let setting = Setting::new("memory", "memory.limit_in_bytes", limit);
            all.push(match (swap, limit) {
                // Without a word about swap no limit on memory means none on both, if swap is accounted at all.
                (0, -1) => setting.how(How::WithSwap { swap_file, swap: String::new() }),
                (0, _) if unless_in_use => setting.how(How::UnlessInUse { with_swap: None }),
                (0, _) => setting,
                (swap, _) => setting.how(How::WithSwap { swap_file, swap: swap.to_string() }),
            });
        }
    }
    if let Some(soft) = memory.reservation().filter(|soft| *soft != 0) {
        all.push(Setting::new("memory", "memory.soft_limit_in_bytes", soft));
    }
    if memory.disable_oom_killer().unwrap_or(false) {
        all.push(Setting::new("memory", "memory.oom_control", 1));
    }
    match memory.swappiness() {
        None => Ok(()),
        Some(swappiness) if swappiness <= 100 => {
            all.push(Setting::new("memory", "memory.swappiness", swappiness));
            Ok(())
        }
        Some(_) => Err(invalid("linux.resources.memory.swappiness", "valid range is 0-100")),
    }
}

fn add_cpu(cpu: &LinuxCpu, all: &mut Vec<Setting>) {
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            all.push(Setting::new("cpuset", file, value));
        }
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        all.push(Setting::new("cpu", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        all.push(Setting::new("cpu", "cpu.cfs_period_us", period).how(How::Retry));
    }
    if let Some(burst) = cpu.burst() {
        let setting = Setting::new("cpu", "cpu.cfs_burst_us", burst);
        all.push(setting.how(if burst == 0 { How::IfThere } else { How::Retry }));
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        all.push(Setting::new("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        all.push(Setting::new("cpu", "cpu.rt_period_us", period).how(How::Retry));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        all.push(Setting::new("cpu", "cpu.rt_runtime_us", runtime));
    }
    if let Some(idle) = cpu.idle() {
        all.push(Setting::new("cpu", "cpu.idle", idle));
    }
}

fn add_io(io: &LinuxBlockIo, all: &mut Vec<Setting>) {
    let mut add = |file: &str, value: String, bfq: Option<&str>| {
        let setting = Setting::new("blkio", bfq.unwrap_or(file), &value);
        all.push(match bfq {
            Some(_) => setting.how(How::Or(file.to_owned(), value)),
            None => setting,
        });
    };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        add("blkio.weight", weight.to_string(), Some("blkio.bfq.weight"));
    }
    if let Some(weight) = io.leaf_weight().filter(|weight| *weight != 0) {
        add("blkio.leaf_weight", weight.to_string(), None);
    }
    for device in io.weight_device().iter().flatten() {
        let value = |weight| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            add("blkio.weight_device", value(weight), Some("blkio.bfq.weight_device"));
        }
        if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
            add("blkio.leaf_weight_device", value(weight), None);
        }
    }
    let throttles = [
        ("read_bps", io.throttle_read_bps_device()),
        ("write_bps", io.throttle_write_bps_device()),
        ("read_iops", io.throttle_read_iops_device()),
        ("write_iops", io.throttle_write_iops_device()),
    ];
    for (what, devices) in throttles {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            add(&format!("blkio.throttle.{what}_device"), value, None);
        }
    }
}

fn add_hugetlb(resources: &LinuxResources, places: &[Place], all: &mut Vec<Setting>) {
    let suffix = match places.iter().any(|place| place.has("hugetlb")) {
        true => "limit_in_bytes",
        false => "max",
    };
    for limit in resources.hugepage_limits().iter().flatten() {
        let (size, value) = (limit.page_size(), limit.limit());
        all.push(Setting::new("hugetlb", format!("hugetlb.{size}.{suffix}"), value));
        let reserved = Setting::new("hugetlb", format!("hugetlb.{size}.rsvd.{suffix}"), value);
        all.push(reserved.how(How::IfThere));
    }
}
