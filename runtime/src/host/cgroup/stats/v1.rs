//! Counters of the hierarchies of cgroup v1.

use std::path::Path;

use super::super::file;
use super::{Blkio, BlkioEntry, Hugetlb, MemoryEntry, Stats, huge_pages, numbers, table};

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
            "blkio" => add_io(dir, &mut stats.blkio),
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
    // "cpu user system", and a line for each.
    let both = file::read(dir, "cpuacct.usage_all").unwrap_or_default();
    let column = |at: usize| {
        let number = |line: &str| line.split(' ').nth(at)?.parse().ok();
        both.lines().skip(1).filter_map(number).collect()
    };
    (usage.percpu_user, usage.percpu_kernel) = (column(1), column(2));
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

/// The schedulers' counters come first, the throttle's count without one too; the first that counts anything is taken (runc's order).
fn add_io(dir: &Path, blkio: &mut Blkio) {
    for (of, end) in
        [("bfq.", "_recursive"), ("", "_recursive"), ("throttle.", "_recursive"), ("throttle.", "")]
    {
        let read = |what: &str| io(dir, &format!("blkio.{of}{what}{end}"));
        let served = read("io_serviced");
        if served.is_empty() {
            continue;
        }
        blkio.io_serviced_recursive = served;
        blkio.io_service_bytes_recursive = read("io_service_bytes");
        blkio.sectors_recursive = read("sectors");
        blkio.io_service_time_recursive = read("io_service_time");
        blkio.io_wait_time_recursive = read("io_wait_time");
        blkio.io_merged_recursive = read("io_merged");
        blkio.io_queue_recursive = read("io_queued");
        blkio.io_time_recursive = read("time");
        return;
    }
}

/// "8:0 Read 1", or "8:0 1".
fn io(dir: &Path, name: &str) -> Vec<BlkioEntry> {
    let text = file::read(dir, name).unwrap_or_default();
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
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
    for (size, prefix) in huge_pages(dir, ".usage_in_bytes") {
        let number = |what: &str| file::number(dir, &format!("{prefix}.{what}")).unwrap_or(0);
        let entry = Hugetlb {
            usage: number("usage_in_bytes"),
            max: number("max_usage_in_bytes"),
            failcnt: number("failcnt"),
        };
        stats.hugetlb.insert(size, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_s_counters_come_before_the_throttle_s() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("blkio.throttle.io_serviced_recursive", "8:0 Read 1\nTotal 1\n");
        let counted = || {
            let mut blkio = Blkio::default();
            add_io(dir.path(), &mut blkio);
            serde_json::to_value(&blkio).unwrap()
        };
        let read = |value: u64| serde_json::json!([{"major": 8, "op": "Read", "value": value}]);
        assert_eq!(counted(), serde_json::json!({"ioServicedRecursive": read(1)}));
        write("blkio.bfq.io_serviced_recursive", "Total 0\n");
        assert_eq!(counted(), serde_json::json!({"ioServicedRecursive": read(1)}));
        write("blkio.bfq.io_serviced_recursive", "8:0 Read 2\nTotal 2\n");
        write("blkio.bfq.sectors_recursive", "8:1 7\n");
        let sectors = serde_json::json!([{"major": 8, "minor": 1, "value": 7}]);
        assert_eq!(
            counted(),
            serde_json::json!({"ioServicedRecursive": read(2), "sectorsRecursive": sectors})
        );
    }

    #[test]
    fn reserved_huge_pages_count_where_the_kernel_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        let usage = || {
            let mut stats = Stats::default();
            add_hugetlb(dir.path(), &mut stats);
            stats.hugetlb["2MB"].usage
        };
        std::fs::write(dir.path().join("hugetlb.2MB.usage_in_bytes"), "1\n").unwrap();
        assert_eq!(usage(), 1);
        std::fs::write(dir.path().join("hugetlb.2MB.rsvd.usage_in_bytes"), "2\n").unwrap();
        assert_eq!(usage(), 2);
    }
}
