//! Namespaces: made, joined, left alone; ids in them.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::process::{REOPENED, REOPENED_OUT};
use crate::bundle::{push, put};
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "namespaces/asked-for-ones-are-new",
        source: "runtime-spec config-linux.md#namespaces",
        needs: &[],
        run: new_ones,
    },
    Case {
        name: "namespaces/others-are-the-hosts",
        source: "runtime-spec config-linux.md#namespaces",
        needs: &[Need::Root],
        run: others,
    },
    Case {
        name: "namespaces/joined-by-path",
        source: "runtime-spec config-linux.md: path",
        needs: &[Need::Root],
        run: joined,
    },
    Case {
        name: "namespaces/loopback-is-up",
        source: "runc: brings the loopback of a new network namespace up",
        needs: &[],
        run: loopback,
    },
    Case {
        name: "namespaces/cgroup",
        source: "runtime-spec config-linux.md#namespaces: cgroup",
        needs: &[Need::Root],
        run: cgroup,
    },
    Case {
        name: "namespaces/without-a-cgroup-namespace-the-tree-has-the-container-s-place",
        source: "cgroup_namespaces(7); runc exec.bats: what /proc/self/cgroup names is below /sys/fs/cgroup",
        needs: &[Need::V2("hugetlb")],
        run: cgroup_place,
    },
    Case {
        name: "namespaces/a-writable-cgroup-belongs-to-the-container-s-root",
        source: "runtime-spec config-linux.md#cgroup-ownership",
        needs: &[Need::V2("hugetlb")],
        run: cgroup_owner,
    },
    Case {
        name: "namespaces/user-with-a-range",
        source: "runtime-spec config-linux.md#user-namespace-mappings",
        needs: &[Need::Root],
        run: user_range,
    },
    Case {
        name: "namespaces/files-stay-the-hosts",
        source: "runc: only within the user namespace is a stream given away",
        needs: &[Need::Root],
        run: unmapped_files,
    },
    Case {
        name: "namespaces/streams-are-the-mapped-users",
        source: "crun: who is mapped may open /dev/stdout, a pipe of the engine's",
        needs: &[Need::Root],
        run: mapped_streams,
    },
    Case {
        name: "namespaces/user-of-another-container",
        source: "facts/runtime-compat: joining another container's user namespace",
        needs: &[Need::Root],
        run: user_joined,
    },
    Case {
        name: "namespaces/user-and-cgroup-of-another-container",
        source: "runc run.bats: joining existing container namespaces; cgroup_namespaces(7)",
        needs: &[Need::Root],
        run: user_and_cgroup_joined,
    },
    Case {
        name: "namespaces/user-on-a-host-with-shared-mounts",
        source: "pivot_root(2): the new root must not be shared; systemd shares every mount of the host",
        needs: &[Need::Root],
        run: user_on_shared,
    },
    Case {
        name: "namespaces/time-offsets",
        source: "runtime-spec config-linux.md#offset-for-time-namespace",
        needs: &[Need::Root],
        run: time,
    },
    Case {
        name: "namespaces/domainname",
        source: "runtime-spec config.md#domainname",
        needs: &[Need::Root],
        run: domainname,
    },
    Case {
        name: "namespaces/one-kind-twice-is-refused",
        source: "runtime-spec config-linux.md#namespaces: duplicates are an error",
        needs: &[],
        run: duplicates,
    },
];

const KINDS: [(&str, &str); 5] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt")];

fn of_host(name: &str) -> Result<Value> {
    Ok(json!(std::fs::read_link(format!("/proc/self/ns/{name}"))?))
}

fn new_ones(ctx: &Ctx) -> Result<()> {
    let seen = ctx.show(&ctx.bundle(&["show"])?)?;
    for (_, name) in KINDS {
        ensure!(seen["namespaces"][name] != of_host(name)?, "{name} is the host's");
    }
    Ok(())
}

fn others(ctx: &Ctx) -> Result<()> {
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("pid", "pid")] {
        let bundle = ctx.bundle_named(kind, &["show"])?;
        bundle.edit(|config| without(config, kind))?;
        let seen = ctx.show(&bundle)?;
        ensure!(seen["namespaces"][name] == of_host(name)?, "{name} is not the host's");
    }
    Ok(())
}

pub(super) fn without(config: &mut Value, kind: &str) {
    if let Some(list) = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
        list.retain(|ns| ns["type"] != kind);
    }
}

fn joined(ctx: &Ctx) -> Result<()> {
    let other = ctx.waiting("other")?;
    let pid = ctx.pid(&other)?;
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| {
        for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("pid", "pid"), ("uts", "uts")] {
            without(config, kind);
            push(
                config,
                "/linux/namespaces",
                json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")}),
            );
        }
        crate::bundle::remove(config, "/hostname");
    })?;
    let seen = ctx.show(&bundle)?;
    for name in ["net", "ipc", "pid", "uts"] {
        let theirs = json!(std::fs::read_link(format!("/proc/{pid}/ns/{name}"))?);
        ensure!(
            seen["namespaces"][name] == theirs,
            "{name}: {} instead of {theirs}",
            seen["namespaces"][name]
        );
    }
    Ok(())
}

fn loopback(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["spawn", "0", ",", "get", "127.0.0.1:9", "/"])?;
    // Refused by the peer: with the loopback down it would be "network is unreachable".
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "spawn 0: ok\nget 127.0.0.1:9 /: ECONNREFUSED\n", "{seen}");
    Ok(())
}

fn cgroup(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| push(config, "/linux/namespaces", json!({"type": "cgroup"})))?;
    let seen = ctx.show(&bundle)?;
    let lines: Vec<&str> =
        seen["cgroup"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(!lines.is_empty() && lines.iter().all(|line| line.ends_with(":/")), "cgroup: {lines:?}");
    Ok(())
}

fn cgroup_place(ctx: &Ctx) -> Result<()> {
    let place = format!("/{}", ctx.id("place"));
    let file = format!("/sys/fs/cgroup{place}/cgroup.procs");
    let bundle = ctx.bundle(&["cat", "/proc/self/cgroup", ",", "cat", &file, ",", "write", &file, "1"])?;
    bundle.set("/linux/cgroupsPath", json!(place))?;
    bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen.contains(&format!("0::{place}\n1\nwrite {file} 1: EROFS\n")), "{seen}");
    Ok(())
}

pub(super) fn with_user_range(config: &mut Value) {
    push(config, "/linux/namespaces", json!({"type": "user"}));
    for key in ["/linux/uidMappings", "/linux/gidMappings"] {
        put(
            config,
            key,
            json!([{"containerID": 0, "hostID": 200_000, "size": 1000}, {"containerID": 2000, "hostID": 300_000, "size": 5}]),
        );
    }
}

fn cgroup_owner(ctx: &Ctx) -> Result<()> {
    use std::os::linux::fs::MetadataExt;
    for (name, options, expected) in [("rw", json!(["nosuid"]), 200_000), ("ro", json!(["ro"]), 0)] {
        let bundle = ctx.bundle_named(name, &["write", "/tmp/x", "", ",", "wait"])?;
        bundle.edit(|config| {
            with_user_range(config);
            push(config, "/linux/namespaces", json!({"type": "cgroup"}));
            put(config, "/linux/cgroupsPath", json!(format!("/{}", ctx.id(name))));
            let tree = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
            push(config, "/mounts", tree);
        })?;
        let id = ctx.id(name);
        ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
        let dir = std::path::Path::new("/sys/fs/cgroup").join(&id);
        for (file, uid) in [("", expected), ("cgroup.procs", expected), ("hugetlb.2MB.max", 0)] {
            let found = std::fs::metadata(dir.join(file)).with_context(|| format!("look at {file:?}"))?;
            ensure!(found.st_uid() == uid, "{name}: {file:?} of the cgroup belongs to {}", found.st_uid());
        }
    }
    Ok(())
}

fn user_range(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| {
        with_user_range(config);
        put(config, "/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9]}));
    })?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["uid_map"] == json!(["0 200000 1000", "2000 300000 5"]), "uid_map: {}", seen["uid_map"]);
    ensure!(
        seen["uid"] == json!([7, 7]) && seen["gid"] == json!([8, 8]) && seen["groups"] == json!([9]),
        "{} {} {}",
        seen["uid"],
        seen["gid"],
        seen["groups"]
    );
    ensure!(seen["namespaces"]["user"] != of_host("user")?, "the host's user namespace");
    Ok(())
}

/// What the host's own file is on stays the host's.
fn unmapped_files(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.edit(with_user_range)?;
    let file = ctx.path("hosts-file");
    let owner = |file: &std::path::Path| Ok::<_, anyhow::Error>(std::fs::metadata(file)?.uid());
    let made = std::fs::File::create_new(&file)?;
    let before = owner(&file)?;
    let mut command = ctx.runtime();
    command.args(["run", "--bundle", bundle.path()?, &ctx.id("c")]);
    crate::process::start(&mut command, made.into())?.end(crate::case::BOUND)?.success()?;
    ensure!(owner(&file)? == before, "the file is now {}'s", owner(&file)?);
    Ok(())
}

/// Outside of the namespace only root can give the pipes to the user that they shall have.
fn mapped_streams(ctx: &Ctx) -> Result<()> {
    for uid in [0, 7] {
        let bundle = ctx.bundle_named(&format!("user{uid}"), &REOPENED)?;
        bundle.edit(|config| {
            with_user_range(config);
            put(config, "/process/user", json!({"uid": uid, "gid": 8}));
        })?;
        let runtime = ctx.runtime();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", r#""$@" | cat"#, "sh"]).arg(runtime.get_program()).args(runtime.get_args());
        command.args(["run", "--bundle", bundle.path()?, &ctx.id(&format!("c{uid}"))]);
        let seen = crate::process::run(&mut command, crate::case::BOUND)?.success()?.out;
        ensure!(seen == REOPENED_OUT, "user {uid}: {seen:?}");
    }
    Ok(())
}

fn user_on_shared(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "it runs"])?;
    bundle.edit(with_user_range)?;
    let inner = ctx.runtime();
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "shared"]).arg(inner.get_program()).args(inner.get_args());
    command.args(["run", "--bundle", bundle.path()?, &ctx.id("c")]);
    crate::process::run(&mut command, crate::case::BOUND)?.success()?.out("it runs\n")?;
    Ok(())
}

fn user_joined(ctx: &Ctx) -> Result<()> {
    let first = ctx.bundle_named("first", &["write", "/tmp/x", "", ",", "wait"])?;
    first.edit(with_user_range)?;
    let id = ctx.id("first");
    ctx.rt(&["create", "--bundle", first.path()?, &id])?.success()?;
    let pid = ctx.pid(&id)?;
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| {
        push(config, "/linux/namespaces", json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}))
    })?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["uid_map"] == json!(["0 200000 1000", "2000 300000 5"]), "uid_map: {}", seen["uid_map"]);
    Ok(())
}

fn user_and_cgroup_joined(ctx: &Ctx) -> Result<()> {
    let first = ctx.bundle_named("first", &["write", "/tmp/x", "", ",", "wait"])?;
    first.edit(|config| {
        with_user_range(config);
        push(config, "/linux/namespaces", json!({"type": "cgroup"}));
    })?;
    let id = ctx.id("first");
    ctx.rt(&["create", "--bundle", first.path()?, &id])?.success()?;
    let pid = ctx.pid(&id)?;
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| {
        for kind in ["user", "cgroup"] {
            let path = format!("/proc/{pid}/ns/{kind}");
            push(config, "/linux/namespaces", json!({"type": kind, "path": path}));
        }
    })?;
    let seen = ctx.show(&bundle)?;
    for kind in ["user", "cgroup"] {
        let theirs = json!(std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?);
        ensure!(
            seen["namespaces"][kind] == theirs,
            "{kind}: {} instead of {theirs}",
            seen["namespaces"][kind]
        );
    }
    Ok(())
}

fn time(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| {
        push(config, "/linux/namespaces", json!({"type": "time"}));
        put(
            config,
            "/linux/timeOffsets",
            json!({"monotonic": {"secs": 7881, "nanosecs": 2}, "boottime": {"secs": 1337, "nanosecs": 3}}),
        );
    })?;
    let seen = ctx.show(&bundle)?;
    ensure!(
        seen["timens_offsets"] == json!(["monotonic 7881 2", "boottime 1337 3"]),
        "{}",
        seen["timens_offsets"]
    );
    Ok(())
}

fn domainname(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.set("/domainname", json!("a.domain"))?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["domainname"] == "a.domain", "domainname: {}", seen["domainname"]);
    Ok(())
}

fn duplicates(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.edit(|config| push(config, "/linux/namespaces", json!({"type": "pid"})))?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?;
    Ok(())
}
