//! The metrics message of a container's v1 cgroups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use containerd_shim_protos::cgroups::metrics as message;
use protobuf::MessageField;

use super::{counters, infixes, number};

/// Ticks of `cpuacct.stat`: USER_HZ, 100 on every Linux.
const NANOSECONDS_A_TICK: u64 = 10_000_000;

pub(super) fn metrics(dirs: &BTreeMap<String, PathBuf>) -> message::Metrics {
    let existing = |name: &str| dirs.get(name).filter(|dir| dir.is_dir());
    let mut metrics = message::Metrics::default();
    if let Some(dir) = existing("pids") {
        metrics.pids = MessageField::some(message::PidsStat {
            current: number(&dir.join("pids.current")),
            limit: match number(&dir.join("pids.max")) {
                u64::MAX => 0, // v1's message says "no limit" so
                limit => limit,
            },
            ..Default::default()
        });
    }
    if existing("cpu").is_some() || existing("cpuacct").is_some() {
        metrics.cpu = MessageField::some(message::CPUStat {
            usage: existing("cpuacct").map(|dir| usage(dir)).into(),
            throttling: existing("cpu").map(|dir| throttling(dir)).into(),
            ..Default::default()
        });
    }
    if let Some(dir) = existing("memory") {
        metrics.memory = MessageField::some(memory(dir));
        metrics.memory_oom_control = MessageField::some(oom_control(dir));
    }
    if let Some(dir) = existing("blkio") {
        metrics.blkio = MessageField::some(blkio(dir));
    }
    if let Some(dir) = existing("hugetlb") {
        metrics.hugetlb = hugetlb(dir);
    }
    metrics
}

fn usage(dir: &Path) -> message::CPUUsage {
    let stat = counters(&dir.join("cpuacct.stat"));
    let ticks = |name: &str| stat.get(name).copied().unwrap_or(0).saturating_mul(NANOSECONDS_A_TICK);
    let each = std::fs::read_to_string(dir.join("cpuacct.usage_percpu")).unwrap_or_default();
    message::CPUUsage {
        total: number(&dir.join("cpuacct.usage")),
        kernel: ticks("system"),
        user: ticks("user"),
        per_cpu: each.split_whitespace().filter_map(|text| text.parse().ok()).collect(),
        ..Default::default()
    }
}

fn throttling(dir: &Path) -> message::Throttle {
    let stat = counters(&dir.join("cpu.stat"));
    let value = |name: &str| stat.get(name).copied().unwrap_or(0);
    message::Throttle {
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_time: value("throttled_time"),
        ..Default::default()
    }
}

fn memory(dir: &Path) -> message::MemoryStat {
    let stat = counters(&dir.join("memory.stat"));
    let value = |name: &str| stat.get(name).copied().unwrap_or(0);
    let mut memory = message::MemoryStat {
        cache: value("cache"),
        rss: value("rss"),
        rss_huge: value("rss_huge"),
        mapped_file: value("mapped_file"),
        dirty: value("dirty"),
        writeback: value("writeback"),
        pg_pg_in: value("pgpgin"),
        pg_pg_out: value("pgpgout"),
        pg_fault: value("pgfault"),
        pg_maj_fault: value("pgmajfault"),
        inactive_anon: value("inactive_anon"),
        active_anon: value("active_anon"),
        inactive_file: value("inactive_file"),
        active_file: value("active_file"),
        unevictable: value("unevictable"),
        hierarchical_memory_limit: value("hierarchical_memory_limit"),
        hierarchical_swap_limit: value("hierarchical_memsw_limit"),
        usage: MessageField::some(entry(dir, "memory")),
        swap: MessageField::some(entry(dir, "memory.memsw")),
        kernel: MessageField::some(entry(dir, "memory.kmem")),
        kernel_tcp: MessageField::some(entry(dir, "memory.kmem.tcp")),
        ..Default::default()
    };
    totals(&mut memory, &value);
    memory
}

fn totals(memory: &mut message::MemoryStat, value: &impl Fn(&str) -> u64) {
    memory.total_cache = value("total_cache");
    memory.total_rss = value("total_rss");
    memory.total_rss_huge = value("total_rss_huge");
    memory.total_mapped_file = value("total_mapped_file");
    memory.total_dirty = value("total_dirty");
    memory.total_writeback = value("total_writeback");
    memory.total_pg_pg_in = value("total_pgpgin");
    memory.total_pg_pg_out = value("total_pgpgout");
    memory.total_pg_fault = value("total_pgfault");
    memory.total_pg_maj_fault = value("total_pgmajfault");
    memory.total_inactive_anon = value("total_inactive_anon");
    memory.total_active_anon = value("total_active_anon");
    memory.total_inactive_file = value("total_inactive_file");
    memory.total_active_file = value("total_active_file");
    memory.total_unevictable = value("total_unevictable");
}

fn entry(dir: &Path, prefix: &str) -> message::MemoryEntry {
    let value = |suffix: &str| number(&dir.join(format!("{prefix}.{suffix}")));
    message::MemoryEntry {
        limit: value("limit_in_bytes"),
        usage: value("usage_in_bytes"),
        max: value("max_usage_in_bytes"),
        failcnt: value("failcnt"),
        ..Default::default()
    }
}

fn oom_control(dir: &Path) -> message::MemoryOomControl {
    let control = counters(&dir.join("memory.oom_control"));
    let value = |name: &str| control.get(name).copied().unwrap_or(0);
    message::MemoryOomControl {
        oom_kill_disable: value("oom_kill_disable"),
        under_oom: value("under_oom"),
        oom_kill: value("oom_kill"),
        ..Default::default()
    }
}

fn blkio(dir: &Path) -> message::BlkIOStat {
    // Only BFQ counts all of them; every scheduler counts what the throttle sees.
    let entries = |bfq: &str, throttle: Option<&str>| {
        let found = blkio_entries(&dir.join(bfq));
        match throttle {
            Some(file) if found.is_empty() => blkio_entries(&dir.join(file)),
            _ => found,
        }
    };
    message::BlkIOStat {
        io_service_bytes_recursive: entries(
            "blkio.bfq.io_service_bytes_recursive",
            Some("blkio.throttle.io_service_bytes_recursive"),
        ),
        io_serviced_recursive: entries(
            "blkio.bfq.io_serviced_recursive",
            Some("blkio.throttle.io_serviced_recursive"),
        ),
        io_queued_recursive: entries("blkio.bfq.io_queued_recursive", None),
        io_service_time_recursive: entries("blkio.bfq.io_service_time_recursive", None),
        io_wait_time_recursive: entries("blkio.bfq.io_wait_time_recursive", None),
        io_merged_recursive: entries("blkio.bfq.io_merged_recursive", None),
        io_time_recursive: entries("blkio.bfq.time_recursive", None),
        sectors_recursive: entries("blkio.bfq.sectors_recursive", None),
        ..Default::default()
    }
}

/// Lines are `8:0 Read 4096`, or `8:0 4096`; the last one, `Total 4096`, is of no device.
fn blkio_entries(file: &Path) -> Vec<message::BlkIOEntry> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let entries = text.lines().filter_map(|line| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        Some(message::BlkIOEntry {
            op: op.to_owned(),
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            value: value.parse().ok()?,
            ..Default::default()
        })
    });
    entries.collect()
}

fn hugetlb(dir: &Path) -> Vec<message::HugetlbStat> {
    let sizes = infixes(dir, "hugetlb.", ".usage_in_bytes").into_iter();
    sizes
        .map(|pagesize| message::HugetlbStat {
            usage: number(&dir.join(format!("hugetlb.{pagesize}.usage_in_bytes"))),
            max: number(&dir.join(format!("hugetlb.{pagesize}.max_usage_in_bytes"))),
            failcnt: number(&dir.join(format!("hugetlb.{pagesize}.failcnt"))),
            pagesize,
            ..Default::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_become_the_message_and_absent_controllers_nothing() {
        let top = tempfile::tempdir().unwrap();
        let mut dirs = BTreeMap::new();
        for (controller, file, text) in [
            ("memory", "memory.usage_in_bytes", "4096\n"),
            ("memory", "memory.stat", "cache 1\ntotal_rss 2\nhierarchical_memory_limit 3\n"),
            ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            ("cpuacct", "cpuacct.usage", "5\n"),
            ("cpuacct", "cpuacct.stat", "user 1\nsystem 2\n"),
            ("cpuacct", "cpuacct.usage_percpu", "2 3 \n"),
            ("blkio", "blkio.throttle.io_service_bytes_recursive", "8:0 Read 7\nTotal 7\n"),
        ] {
            let dir = top.path().join(controller);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(file), text).unwrap();
            dirs.insert(controller.to_owned(), dir);
        }
        let metrics = metrics(&dirs);
        assert_eq!(
            (metrics.memory.usage.usage, metrics.memory.cache, metrics.memory.total_rss),
            (4096, 1, 2)
        );
        assert_eq!((metrics.memory.hierarchical_memory_limit, metrics.memory_oom_control.oom_kill), (3, 4));
        assert_eq!(
            (metrics.cpu.usage.total, metrics.cpu.usage.user, metrics.cpu.usage.kernel),
            (5, 10_000_000, 20_000_000)
        );
        assert_eq!(metrics.cpu.usage.per_cpu, [2, 3]);
        let bytes = metrics.blkio.io_service_bytes_recursive.first().unwrap();
        assert_eq!((bytes.major, bytes.op.as_str(), bytes.value), (8, "Read", 7));
        assert!(metrics.pids.is_none() && metrics.hugetlb.is_empty());
    }
}
