//! Groups of the resctrl file system (Intel RDT).
//!
//! No machine with it was to be had: what is here follows the kernel's "User Interface for Resource Control feature".

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::cgroup::file;
use crate::error::{Error, Kind};
use crate::plan::rdt::{Origin, Rdt};
use crate::state;

/// Where the planned group is; an error on a host without resctrl.
pub fn find(planned: &Rdt) -> Result<state::Rdt, Error> {
    let table = file::read(Path::new("/proc/self"), "mountinfo")?;
    let Some(mount) = mounted(&table) else {
        let text = "intelRdt is specified in config, but Intel RDT is not enabled";
        return Err(Error::new(Kind::Unsupported, text).hint("mount -t resctrl resctrl /sys/fs/resctrl"));
    };
    let group = mount.join(&planned.group);
    let monitor = planned.monitor.as_ref().map(|name| group.join("mon_groups").join(name));
    Ok(state::Rdt { own: planned.origin == Origin::Own, group, monitor, mount })
}

/// The first mount of that kind (proc_pid_mountinfo(5)).
fn mounted(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let is_it = right.split(' ').next() == Some("resctrl");
        is_it.then(|| left.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

/// Makes what is missing and gives it its part, before anybody is inside.
pub fn make(planned: &Rdt, group: &state::Rdt) -> Result<(), Error> {
    if planned.origin == Origin::MustExist {
        if !group.group.is_dir() {
            let text = format!("use the resctrl group {}: it does not exist", group.group.display());
            return Err(Error::new(Kind::Invalid, text).hint("without a schema it has to be there already"));
        }
    } else {
        directory(&group.group)?;
    }
    if !planned.schemata.is_empty() {
        set(group, &planned.schemata)?;
    }
    group.monitor.as_deref().map_or(Ok(()), directory)
}

fn directory(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            let error = Error::system(format!("make the resctrl group {}", path.display()), source);
            Err(match error.errno() {
                Some(libc::ENOSPC) => error.hint("the processor has no more classes or counters"),
                _ => error,
            })
        }
        _ => Ok(()),
    }
}

/// All lines in one write: the kernel takes all or none.
pub fn set(group: &state::Rdt, schemata: &str) -> Result<(), Error> {
    file::write(&group.group, "schemata", schemata).map_err(|error| {
        // Beside the mount of the file system it says what was wrong with it.
        match file::read(&group.mount, "info/last_cmd_status") {
            Ok(why) if !why.is_empty() && why != "ok" => error.hint(why),
            _ => error,
        }
    })
}

/// Puts a process of one thread in.
pub fn enter(group: &state::Rdt, pid: i32) -> Result<(), Error> {
    file::write(&group.group, "tasks", &pid.to_string())?;
    group.monitor.as_deref().map_or(Ok(()), |monitor| file::write(monitor, "tasks", &pid.to_string()))
}

/// Removes what is the container's; what is gone already is no error.
pub fn remove(group: &state::Rdt) -> Result<(), Error> {
    let own = group.own.then_some(&group.group);
    for path in group.monitor.iter().chain(own) {
        match std::fs::remove_dir(path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(Error::system(format!("remove the resctrl group {}", path.display()), source));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What `events` shows, in runc's members.
pub fn stats(group: &state::Rdt) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, dir, files) in [
        ("l3_cache_info", "info/L3", ["cbm_mask", "min_cbm_bits", "num_closids", ""]),
        ("mem_bw_info", "info/MB", ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"]),
    ] {
        let found = information(&group.mount.join(dir), &files);
        if !found.is_empty() {
            all.insert(key.to_owned(), Value::Object(found));
        }
    }
    for (suffix, dir) in [("_root", &group.mount), ("", &group.group)] {
        let text = file::read(dir, "schemata").unwrap_or_default();
        for (name, kind) in [("l3_cache_schema", "L3"), ("mem_bw_schema", "MB")] {
            if let Some(line) = schema(&text, kind) {
                all.insert(format!("{name}{suffix}"), json!(line));
            }
        }
        if suffix.is_empty() && !text.is_empty() {
            all.insert("schemata".to_owned(), json!(text.lines().map(str::trim).collect::<Vec<_>>()));
        }
    }
    let counted = counters(group.monitor.as_ref().unwrap_or(&group.group));
    all.extend(counted);
    all
}

fn information(dir: &Path, files: &[&str]) -> Map<String, Value> {
    let value = |name: &&str| {
        let text = file::read(dir, name).ok()?;
        // The mask is a word, all others are numbers.
        let value = if *name == "cbm_mask" { json!(text) } else { json!(text.parse::<u64>().ok()?) };
        Some(((*name).to_owned(), value))
    };
    files.iter().filter(|name| !name.is_empty()).filter_map(value).collect()
}

/// The line of a kind, which the kernel pads. With a part for code and one for data (L3CODE, L3DATA) runc shows the last of the two.
fn schema(text: &str, kind: &str) -> Option<String> {
    let line = text.lines().map(str::trim).rfind(|line| line.starts_with(kind))?;
    Some(line.to_owned())
}

/// Each cache's own, by the order of their numbers.
fn counters(group: &Path) -> Map<String, Value> {
    let entries = std::fs::read_dir(group.join("mon_data")).into_iter().flatten().flatten();
    let mut caches: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    caches.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mon_L3_")));
    caches.sort();
    let of = |names: [(&str, &str); 2]| {
        let rows = caches.iter().filter_map(|cache| {
            let value =
                |(key, name): &(&str, &str)| Some(((*key).to_owned(), json!(file::number(cache, name)?)));
            let row: Map<String, Value> =
                names.iter().filter(|(key, _)| !key.is_empty()).filter_map(value).collect();
            (!row.is_empty()).then_some(Value::Object(row))
        });
        rows.collect::<Vec<_>>()
    };
    let bandwidth = of([("mbm_total_bytes", "mbm_total_bytes"), ("mbm_local_bytes", "mbm_local_bytes")]);
    let occupancy = of([("llc_occupancy", "llc_occupancy"), ("", "")]);
    let all = [("mbm_stats", bandwidth), ("cmt_stats", occupancy)].into_iter();
    all.filter(|(_, rows)| !rows.is_empty()).map(|(key, rows)| (key.to_owned(), Value::Array(rows))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_by_its_kind() {
        let table = "36 35 98:0 / /sys/fs/resctrl rw,nosuid - resctrl resctrl rw\n";
        assert_eq!(mounted(table), Some(PathBuf::from("/sys/fs/resctrl")));
        assert_eq!(mounted("36 35 98:0 / /resctrl rw - tmpfs resctrl rw\n"), None);
    }

    #[test]
    fn what_the_kernel_shows_is_shown() {
        let mount = std::env::temp_dir().join(format!("rdt-{}", std::process::id()));
        let monitor = mount.join("gold/mon_groups/box");
        let caches = [monitor.join("mon_data/mon_L3_01"), monitor.join("mon_data/mon_L3_00")];
        for dir in [&mount.join("info/L3"), &caches[0], &caches[1]] {
            std::fs::create_dir_all(dir).unwrap();
        }
        for (path, text) in [
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("schemata", "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n"),
            ("gold/schemata", "L3CODE:0=f;1=f\nL3DATA:0=f;1=f0\n"),
            ("gold/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes", "7\n"),
            ("gold/mon_groups/box/mon_data/mon_L3_00/mbm_local_bytes", "5\n"),
            ("gold/mon_groups/box/mon_data/mon_L3_00/llc_occupancy", "Unavailable\n"),
            ("gold/mon_groups/box/mon_data/mon_L3_01/mbm_total_bytes", "9\n"),
            ("gold/mon_groups/box/mon_data/mon_L3_01/llc_occupancy", "3\n"),
        ] {
            std::fs::write(mount.join(path), text).unwrap();
        }
        let group = state::Rdt {
            mount: mount.clone(),
            group: mount.join("gold"),
            own: false,
            monitor: Some(monitor),
        };
        let expected = json!({
            "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fffff;1=fffff",
            "mem_bw_schema_root": "MB:0=100;1=100",
            "l3_cache_schema": "L3DATA:0=f;1=f0",
            "schemata": ["L3CODE:0=f;1=f", "L3DATA:0=f;1=f0"],
            "mbm_stats": [{"mbm_total_bytes": 7, "mbm_local_bytes": 5}, {"mbm_total_bytes": 9}],
            "cmt_stats": [{"llc_occupancy": 3}],
        });
        assert_eq!(Value::Object(stats(&group)), expected);
        std::fs::remove_dir_all(mount).unwrap();
    }
}
