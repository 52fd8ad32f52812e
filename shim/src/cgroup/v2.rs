//! The metrics message of a cgroup v2.

use std::path::Path;

use containerd_shim_protos::cgroups_v2::metrics as message;
use protobuf::MessageField;

use super::{counters, infixes, number};

pub(super) fn metrics(dir: &Path) -> message::Metrics {
    message::Metrics {
        pids: MessageField::some(message::PidsStat {
            current: number(&dir.join("pids.current")),
            limit: number(&dir.join("pids.max")),
            ..Default::default()
        }),
        cpu: MessageField::some(cpu(dir)),
        memory: MessageField::some(memory(dir)),
        memory_events: MessageField::some(memory_events(dir)),
        rdma: MessageField::some(rdma(dir)),
        io: MessageField::some(io(dir)),
        hugetlb: hugetlb(dir),
        ..Default::default()
    }
}

fn cpu(dir: &Path) -> message::CPUStat {
    let stat = counters(&dir.join("cpu.stat"));
    let value = |name: &str| stat.get(name).copied().unwrap_or(0);
    message::CPUStat {
        usage_usec: value("usage_usec"),
        user_usec: value("user_usec"),
        system_usec: value("system_usec"),
        nr_periods: value("nr_periods"),
        nr_throttled: value("nr_throttled"),
        throttled_usec: value("throttled_usec"),
        nr_bursts: value("nr_bursts"),
        burst_usec: value("burst_usec"),
        psi: pressure(&dir.join("cpu.pressure")),
        ..Default::default()
    }
}

fn memory(dir: &Path) -> message::MemoryStat {
    let stat = counters(&dir.join("memory.stat"));
    let value = |name: &str| stat.get(name).copied().unwrap_or(0);
    message::MemoryStat {
        anon: value("anon"),
        file: value("file"),
        kernel_stack: value("kernel_stack"),
        slab: value("slab"),
        sock: value("sock"),
        shmem: value("shmem"),
        file_mapped: value("file_mapped"),
        file_dirty: value("file_dirty"),
        file_writeback: value("file_writeback"),
        anon_thp: value("anon_thp"),
        inactive_anon: value("inactive_anon"),
        active_anon: value("active_anon"),
        inactive_file: value("inactive_file"),
        active_file: value("active_file"),
        unevictable: value("unevictable"),
        slab_reclaimable: value("slab_reclaimable"),
        slab_unreclaimable: value("slab_unreclaimable"),
        pgfault: value("pgfault"),
        pgmajfault: value("pgmajfault"),
        workingset_refault: value("workingset_refault")
            + value("workingset_refault_anon")
            + value("workingset_refault_file"),
        workingset_activate: value("workingset_activate")
            + value("workingset_activate_anon")
            + value("workingset_activate_file"),
        workingset_nodereclaim: value("workingset_nodereclaim"),
        pgrefill: value("pgrefill"),
        pgscan: value("pgscan"),
        pgsteal: value("pgsteal"),
        pgactivate: value("pgactivate"),
        pgdeactivate: value("pgdeactivate"),
        pglazyfree: value("pglazyfree"),
        pglazyfreed: value("pglazyfreed"),
        thp_fault_alloc: value("thp_fault_alloc"),
        thp_collapse_alloc: value("thp_collapse_alloc"),
        usage: number(&dir.join("memory.current")),
        usage_limit: number(&dir.join("memory.max")),
        swap_usage: number(&dir.join("memory.swap.current")),
        swap_limit: number(&dir.join("memory.swap.max")),
        max_usage: number(&dir.join("memory.peak")),
        swap_max_usage: number(&dir.join("memory.swap.peak")),
        psi: pressure(&dir.join("memory.pressure")),
        ..Default::default()
    }
}

fn memory_events(dir: &Path) -> message::MemoryEvents {
    let events = counters(&dir.join("memory.events"));
    let value = |name: &str| events.get(name).copied().unwrap_or(0);
    message::MemoryEvents {
        low: value("low"),
        high: value("high"),
        max: value("max"),
        oom: value("oom"),
        oom_kill: value("oom_kill"),
        oom_group_kill: value("oom_group_kill"),
        ..Default::default()
    }
}

fn hugetlb(dir: &Path) -> Vec<message::HugeTlbStat> {
    let sizes = infixes(dir, "hugetlb.", ".current").into_iter();
    sizes
        .map(|pagesize| message::HugeTlbStat {
            current: number(&dir.join(format!("hugetlb.{pagesize}.current"))),
            max: number(&dir.join(format!("hugetlb.{pagesize}.max"))),
            failcnt: counters(&dir.join(format!("hugetlb.{pagesize}.events")))
                .get("max")
                .copied()
                .unwrap_or(0),
            pagesize,
            ..Default::default()
        })
        .collect()
}

/// Lines are `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.
fn io(dir: &Path) -> message::IOStat {
    let text = std::fs::read_to_string(dir.join("io.stat")).unwrap_or_default();
    let usage = text.lines().filter_map(|line| {
        let (device, fields) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let value = |name: &str| field(fields, name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(message::IOEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            rbytes: value("rbytes"),
            wbytes: value("wbytes"),
            rios: value("rios"),
            wios: value("wios"),
            ..Default::default()
        })
    });
    message::IOStat { usage: usage.collect(), psi: pressure(&dir.join("io.pressure")), ..Default::default() }
}

fn rdma(dir: &Path) -> message::RdmaStat {
    let entries = |file: &str| {
        let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let (device, fields) = line.split_once(' ')?;
            let value = |name: &str| match field(fields, name) {
                Some("max") => u32::MAX,
                other => other.and_then(|text| text.parse().ok()).unwrap_or(0),
            };
            Some(message::RdmaEntry {
                device: device.to_owned(),
                hca_handles: value("hca_handle"),
                hca_objects: value("hca_object"),
                ..Default::default()
            })
        });
        lines.collect()
    };
    message::RdmaStat { current: entries("rdma.current"), limit: entries("rdma.max"), ..Default::default() }
}

/// Lines are `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; absent where the kernel does not measure.
fn pressure(file: &Path) -> MessageField<message::PSIStats> {
    let Ok(text) = std::fs::read_to_string(file) else { return MessageField::none() };
    let line = |kind: &str| {
        let fields = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
        let Some(fields) = fields else { return MessageField::none() };
        let average = |name: &str| field(fields, name).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        MessageField::some(message::PSIData {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total: field(fields, "total").and_then(|text| text.parse().ok()).unwrap_or(0),
            ..Default::default()
        })
    };
    MessageField::some(message::PSIStats { some: line("some"), full: line("full"), ..Default::default() })
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_become_the_message() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("cpu.stat", "usage_usec 7\nuser_usec 5\nsystem_usec 2\n"),
            ("memory.stat", "anon 4096\nfile 8192\nworkingset_refault_anon 1\nworkingset_refault_file 2\n"),
            ("memory.current", "12288\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n"),
            ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let metrics = metrics(dir.path());
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, u64::MAX));
        assert_eq!((metrics.cpu.usage_usec, metrics.cpu.user_usec, metrics.cpu.system_usec), (7, 5, 2));
        assert_eq!((metrics.cpu.psi.some.avg10, metrics.cpu.psi.some.total), (1.5, 9));
        assert_eq!(
            (metrics.memory.anon, metrics.memory.file, metrics.memory.workingset_refault),
            (4096, 8192, 3)
        );
        assert_eq!((metrics.memory.usage, metrics.memory.usage_limit), (12288, u64::MAX));
        assert_eq!((metrics.memory_events.max, metrics.memory_events.oom_kill), (4, 1));
        let io = metrics.io.usage.first().unwrap();
        assert_eq!((io.major, io.minor, io.rbytes, io.wbytes, io.rios, io.wios), (8, 16, 1, 2, 3, 4));
    }
}
