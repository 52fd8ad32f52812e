//! Counters of the hierarchies of cgroup v1.

use std::path::Path;

use super::super::file;
use super::{BlkioEntry, Hugetlb, MemoryEntry, Stats, huge_page_sizes, numbers, table};

pub(super) fn add(dir: &Path, controllers: &[String], stats: &mut Stats) {
    for controller in controllers {
        match controller.as_str() {
            "cpu" => add_throttling(dir, stats),
            "cpuacct" => add_cpu(dir, stats),
            "cpuset" => add_cpuset(dir, stats),
            "memory" => add_memory(dir, stats),
            "pids" => {
                stats.pids.current = file::number(dir, "pids.current").unwrap_or(0);
                stats.pids.limit = file::number(dir, "pids.max").unwrap_or(0);
            }
            "blkio" => {
                stats.blkio.io_service_bytes_recursive = io(dir, "blkio.throttle.io_service_bytes_recursive");
                stats.blkio.io_serviced_recursive = io(dir, "blkio.throttle.io_serviced_recursive");
            }
            "hugetlb" => add_hugetlb(dir, stats),
            _ => {}
        }
    }
}

fn add_throttling(dir: &Path, stats: &mut Stats) {
    let counters = table(dir, "cpu.stat");
    let of = |key: &str| counters.get(key).copied().unwrap_or(0);
    stats.cpu.throttling.periods = of("nr_periods");
    stats.cpu.throttling.throttled_periods = of("nr_throttled");
    stats.cpu.throttling.throttled_time = of("throttled_time");
}

/// The kernel counts user and system time in ticks of a hundredth of a second (USER_HZ).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

fn add_cpu(dir: &Path, stats: &mut Stats) {
    let ticks = table(dir, "cpuacct.stat");
    let of = |key: &str| ticks.get(key).copied().unwrap_or(0).saturating_mul(NANOSECONDS_PER_TICK);
    let usage = &mut stats.cpu.usage;
    usage.total = file::number(dir, "cpuacct.usage").unwrap_or(0);
    usage.user = of("user");
    usage.kernel = of("system");
    let each = file::read(dir, "cpuacct.usage_percpu").unwrap_or_default();
    usage.percpu = each.split_whitespace().filter_map(|text| text.parse().ok()).collect();
}

fn add_cpuset(dir: &Path, stats: &mut Stats) {
    let number = |name: &str| file::number(dir, &format!("cpuset.{name}")).unwrap_or(0);
    let list = |name: &str| numbers(&file::read(dir, name).unwrap_or_default());
    let set = &mut stats.cpuset;
    set.cpus = list("cpuset.cpus");
    set.mems = list("cpuset.mems");
    set.cpu_exclusive = number("cpu_exclusive");
    set.mem_hardwall = number("mem_hardwall");
    set.mem_exclusive = number("mem_exclusive");
    set.memory_migrate = number("memory_migrate");
    set.memory_spread_page = number("memory_spread_page");
    set.memory_spread_slab = number("memory_spread_slab");
    set.memory_pressure = number("memory_pressure");
    set.sched_load_balance = number("sched_load_balance");
    let level = file::read(dir, "cpuset.sched_relax_domain_level").unwrap_or_default();
    set.sched_relax_domain_level = level.parse().unwrap_or(0);
}

fn add_memory(dir: &Path, stats: &mut Stats) {
    let entry = |prefix: &str| {
        let number = |name: &str| file::number(dir, &format!("memory.{prefix}{name}")).unwrap_or(0);
        MemoryEntry {
            limit: number("limit_in_bytes"),
            usage: number("usage_in_bytes"),
            max: number("max_usage_in_bytes"),
            failcnt: number("failcnt"),
        }
    };
    let memory = &mut stats.memory;
    memory.usage = entry("");
    memory.swap = entry("memsw.");
    memory.kernel = entry("kmem.");
    memory.kernel_tcp = entry("kmem.tcp.");
    memory.raw = table(dir, "memory.stat");
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
}

fn io(dir: &Path, name: &str) -> Vec<BlkioEntry> {
    let text = file::read(dir, name).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = (words.next()?, words.next()?);
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn add_hugetlb(dir: &Path, stats: &mut Stats) {
    for size in huge_page_sizes(dir, ".usage_in_bytes") {
        let number = |what: &str| file::number(dir, &format!("hugetlb.{size}.{what}")).unwrap_or(0);
        let entry = Hugetlb {
            usage: number("usage_in_bytes"),
            max: number("max_usage_in_bytes"),
            failcnt: number("failcnt"),
        };
        stats.hugetlb.insert(size, entry);
    }
}
