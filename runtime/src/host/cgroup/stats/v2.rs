//! Counters of cgroup v2.

use std::path::Path;

use super::super::file;
use super::{BlkioEntry, Hugetlb, MemoryEntry, Pressure, Pressures, Stats, huge_pages, numbers, table};

pub(super) fn add(dir: &Path, stats: &mut Stats) {
    add_cpu(dir, stats);
    add_memory(dir, stats);
    if let Some(current) = file::number(dir, "pids.current") {
        stats.pids.current = current;
        stats.pids.limit = file::number(dir, "pids.max").unwrap_or(0);
    } else if stats.pids.current == 0 {
        // Without the controller, of v1 neither.
        let listed = file::read(dir, "cgroup.procs").or_else(|_| file::read(dir, "cgroup.threads"));
        stats.pids.current = listed.map_or(0, |listed| listed.lines().map(|_| 1).sum());
    }
    add_io(dir, stats);
    for (size, prefix) in huge_pages(dir, ".current") {
        let number = |what: &str| file::number(dir, &format!("{prefix}.{what}")).unwrap_or(0);
        let failcnt = table(dir, &format!("hugetlb.{size}.events")).get("max").copied().unwrap_or(0);
        let entry = Hugetlb { usage: number("current"), max: 0, failcnt };
        stats.hugetlb.insert(size, entry);
    }
}

fn add_cpu(dir: &Path, stats: &mut Stats) {
    let counters = table(dir, "cpu.stat");
    let of = |key: &str| counters.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| of(key).saturating_mul(1000);
    // On a hybrid host v1 has counted already.
    if stats.cpu.usage.total == 0 {
        stats.cpu.usage.total = nanoseconds("usage_usec");
        stats.cpu.usage.user = nanoseconds("user_usec");
        stats.cpu.usage.kernel = nanoseconds("system_usec");
        stats.cpu.throttling.periods = of("nr_periods");
        stats.cpu.throttling.throttled_periods = of("nr_throttled");
        stats.cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    }
    stats.cpu.psi = pressures(dir, "cpu.pressure");
    if let Ok(cpus) = file::read(dir, "cpuset.cpus.effective") {
        stats.cpuset.cpus = numbers(&cpus);
    }
    if let Ok(mems) = file::read(dir, "cpuset.mems.effective") {
        stats.cpuset.mems = numbers(&mems);
    }
}

fn add_memory(dir: &Path, stats: &mut Stats) {
    if let Some(usage) = file::number(dir, "memory.current") {
        let memory = &mut stats.memory;
        memory.raw = table(dir, "memory.stat");
        memory.cache = memory.raw.get("file").copied().unwrap_or(0);
        let fails = table(dir, "memory.events").get("max").copied().unwrap_or(0);
        let peak = file::number(dir, "memory.peak").unwrap_or(0);
        memory.usage = MemoryEntry { limit: limit(dir, "memory.max"), usage, max: peak, failcnt: fails };
        let swap = file::number(dir, "memory.swap.current").unwrap_or(0);
        let swap_limit = limit(dir, "memory.swap.max");
        // The sum of both, as v1 counts it; of the two peaks there is none, since they were not at the same time.
        memory.swap = MemoryEntry {
            limit: swap_limit.saturating_add(memory.usage.limit),
            usage: swap.saturating_add(usage),
            max: 0,
            failcnt: 0,
        };
        memory.kernel.usage = memory.raw.get("kernel").copied().unwrap_or(0);
    }
    stats.memory.psi = pressures(dir, "memory.pressure");
}

/// `max` is the largest number.
fn limit(dir: &Path, name: &str) -> u64 {
    match file::read(dir, name) {
        Ok(text) => text.parse().unwrap_or(u64::MAX),
        Err(_) => 0,
    }
}

fn add_io(dir: &Path, stats: &mut Stats) {
    let text = file::read(dir, "io.stat").unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut stats.blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().unwrap_or(0) });
        }
    }
    stats.blkio.psi = pressures(dir, "io.pressure");
}

fn pressures(dir: &Path, name: &str) -> Option<Pressures> {
    let text = file::read(dir, name).ok()?;
    let mut both = Pressures::default();
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ')?;
        let of = |key: &str| rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let average = |key: &str| of(key).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let pressure = Pressure {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: of("total").and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        match kind {
            "some" => both.some = pressure,
            _ => both.full = pressure,
        }
    }
    Some(both)
}
