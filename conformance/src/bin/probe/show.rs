//! What a process sees of itself and of its container, as one JSON object.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::sys;

/// Everything, in one object. Fields that cannot be read are null.
pub(crate) fn everything() -> Value {
    let umask = sys::umask();
    json!({
        "args": std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": environment(),
        "cwd": std::env::current_dir().ok(),
        "pid": std::process::id(),
        "ppid": nix::unistd::getppid().as_raw(),
        "sid": nix::unistd::getsid(None).ok().map(nix::unistd::Pid::as_raw),
        "uid": [nix::unistd::getuid().as_raw(), nix::unistd::geteuid().as_raw()],
        "gid": [nix::unistd::getgid().as_raw(), nix::unistd::getegid().as_raw()],
        "groups": nix::unistd::getgroups().map(|g| g.iter().map(|g| g.as_raw()).collect::<Vec<_>>()).ok(),
        "umask": format!("{umask:04o}"),
        "status": status(),
        "limits": limits(),
        "namespaces": namespaces(),
        "mounts": mounts(),
        "descriptors": descriptors(),
        "hostname": line("/proc/sys/kernel/hostname"),
        "domainname": line("/proc/sys/kernel/domainname"),
        "oom_score_adj": line("/proc/self/oom_score_adj"),
        "cgroup": lines("/proc/self/cgroup"),
        "uid_map": lines("/proc/self/uid_map"),
        "gid_map": lines("/proc/self/gid_map"),
        "setgroups": line("/proc/self/setgroups"),
        "timens_offsets": lines("/proc/self/timens_offsets"),
        "label": line("/proc/self/attr/current"),
        "scheduler": sys::scheduler().ok(),
        "io_priority": sys::io_priority().ok(),
        "personality": sys::personality().ok(),
        "tty": terminal(),
        "interfaces": interfaces(),
    })
}

fn environment() -> Value {
    let pairs = std::env::vars_os()
        .map(|(k, v)| (k.to_string_lossy().into_owned(), Value::from(v.to_string_lossy().into_owned())));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// The lines of /proc/self/status that a case may ask for.
fn status() -> Value {
    const WANTED: [&str; 16] = [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "SigBlk",
        "SigIgn",
        "Cpus_allowed_list",
        "Mems_allowed_list",
        "THP_enabled",
        "Threads",
        "NSpid",
        "Groups",
    ];
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = text.lines().filter_map(|line| line.split_once(':')).filter(|(key, _)| WANTED.contains(key));
    Value::Object(found.map(|(key, value)| (key.to_owned(), Value::from(value.trim()))).collect())
}

/// Limit name -> [soft, hard], as /proc/self/limits spells them.
fn limits() -> Value {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let rows = text.lines().skip(1).filter_map(|line| {
        let (name, rest) = line.split_at_checked(26)?;
        let mut words = rest.split_whitespace();
        Some((name.trim().to_owned(), json!([words.next()?, words.next()?])))
    });
    Value::Object(rows.collect())
}

fn namespaces() -> Value {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/ns").into_iter().flatten().flatten() {
        let target = std::fs::read_link(entry.path()).ok().map(|t| t.to_string_lossy().into_owned());
        found.insert(entry.file_name().to_string_lossy().into_owned(), target);
    }
    json!(found)
}

/// One object a mount: where, type, source, its own flags, the superblock's, and the propagation fields.
fn mounts() -> Value {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let rows = text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        Some(json!({
            "root": left.get(3)?, "at": left.get(4)?, "flags": left.get(5)?.split(',').collect::<Vec<_>>(),
            "propagation": left.get(6..)?, "type": right.first()?, "source": right.get(1)?,
            "super": right.get(2)?.split(',').collect::<Vec<_>>(),
        }))
    });
    Value::Array(rows.collect())
}

/// Every open descriptor but the one that lists them.
fn descriptors() -> Value {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if !(target.starts_with("/proc/") && target.ends_with("/fd")) {
            found.insert(entry.file_name().to_string_lossy().into_owned(), target);
        }
    }
    json!(found)
}

fn terminal() -> Value {
    let stdin = std::io::stdin();
    match sys::window(stdin.as_fd()) {
        Ok((rows, columns)) => json!({
            "rows": rows, "columns": columns,
            "stdin": std::fs::read_link("/proc/self/fd/0").ok(),
            "console": std::fs::metadata("/dev/console").ok().map(|m| m.file_type().is_char_device()),
            "console_rdev": std::fs::metadata("/dev/console").ok().map(|m| m.rdev()),
            "stdin_rdev": std::fs::metadata("/proc/self/fd/0").ok().map(|m| m.rdev()),
        }),
        Err(_) => Value::Null,
    }
}

fn interfaces() -> Value {
    let text = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    json!(names.collect::<Vec<_>>())
}

fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_end_matches(['\n', '\0']).to_owned())
}

fn lines(path: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}
