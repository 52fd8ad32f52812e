//! Cgroups: the container's own, limits, devices, freezing, update, statistics.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bundle::push;
use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "cgroups/a-group-of-its-own",
        source: "runtime-spec config-linux.md#cgroups-path",
        needs: &[Need::Root],
        run: own_group,
    },
    Case {
        name: "cgroups/path",
        source: "runtime-spec config-linux.md#cgroups-path",
        needs: &[Need::Root],
        run: path,
    },
    Case {
        name: "cgroups/memory-v1",
        source: "runtime-spec config-linux.md#memory",
        needs: &[Need::V1("memory")],
        run: memory_v1,
    },
    Case {
        name: "cgroups/memory-v2",
        source: "runtime-spec config-linux.md#memory",
        needs: &[Need::V2("memory")],
        run: memory_v2,
    },
    Case {
        name: "cgroups/pids-v1",
        source: "runtime-spec config-linux.md#pids",
        needs: &[Need::V1("pids")],
        run: |ctx| pids(ctx, "pids"),
    },
    Case {
        name: "cgroups/pids-v2",
        source: "runtime-spec config-linux.md#pids",
        needs: &[Need::V2("pids")],
        run: |ctx| pids(ctx, ""),
    },
    Case {
        name: "cgroups/hugetlb-v2",
        source: "runtime-spec config-linux.md#huge-page-limits; systemd does not pass this controller on",
        needs: &[Need::V2("hugetlb")],
        run: hugetlb_v2,
    },
    Case {
        name: "cgroups/cpu-v1",
        source: "runtime-spec config-linux.md#cpu",
        needs: &[Need::V1("cpu")],
        run: cpu_v1,
    },
    Case {
        name: "cgroups/cpu-v2",
        source: "runtime-spec config-linux.md#cpu",
        needs: &[Need::V2("cpu")],
        run: cpu_v2,
    },
    Case {
        name: "cgroups/update-memory-v1",
        source: "runc update",
        needs: &[Need::V1("memory")],
        run: update_v1,
    },
    Case {
        name: "cgroups/update-memory-v2",
        source: "runc update",
        needs: &[Need::V2("memory")],
        run: update_v2,
    },
    Case {
        name: "cgroups/a-stopped-container-has-no-limits-to-change",
        source: "runc: container not running",
        needs: &[],
        run: update_stopped,
    },
    Case {
        name: "cgroups/update-memory-keeps-the-sum-v2",
        source: "runc update: the sum of memory and swap is kept, by Docker's update --memory too",
        needs: &[Need::V2("memory")],
        run: update_sum,
    },
    Case { name: "cgroups/pause-and-resume", source: "runc pause, resume", needs: &[Need::Root], run: pause },
    Case {
        name: "cgroups/exec-into-a-paused-container",
        source: "facts/runtime-compat: cannot exec in a paused container, 255",
        needs: &[Need::Root],
        run: exec_paused,
    },
    Case {
        name: "cgroups/delete-of-a-paused-container",
        source: "runc delete --force thaws",
        needs: &[Need::Root],
        run: delete_paused,
    },
    Case {
        name: "cgroups/a-created-container-pauses-and-resumes",
        source: "runc pause, resume, start: paused comes before created",
        needs: &[Need::Root],
        run: pause_created,
    },
    Case {
        name: "cgroups/a-group-in-use-is-refused",
        source: "facts/runtime-compat: a non-empty cgroup is refused before joining",
        needs: &[Need::Root],
        run: in_use,
    },
    Case {
        name: "cgroups/read-only-mount",
        source: "runtime-spec config.md#mounts: cgroup",
        needs: &[Need::Root],
        run: mount,
    },
    Case { name: "cgroups/stats", source: "runc events --stats", needs: &[Need::Root], run: stats },
    Case { name: "cgroups/ps", source: "runc ps", needs: &[Need::Root], run: ps },
    Case {
        name: "cgroups/kill-reaches-every-process",
        source: "facts/runtime-compat: kill KILL with the host's pid namespace",
        needs: &[Need::Root],
        run: kill_all,
    },
];

/// The directory of a running container's group: of the v1 `controller`, or of the unified tree where that is "".
fn group(ctx: &Ctx, id: &str, controller: &str) -> Result<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", ctx.pid(id)?))?;
    let path = text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|c| c == controller).then_some(path)
    });
    let path = path.with_context(|| format!("find {controller:?} in {text}"))?;
    // The mount may show a subtree only: take the longest suffix of the path that is there.
    let top = PathBuf::from("/sys/fs/cgroup").join(controller);
    let whole = top.join(path.trim_start_matches('/'));
    let last = path.rsplit('/').next().unwrap_or_default();
    Ok(if whole.is_dir() { whole } else { top.join(last) })
}

fn value(ctx: &Ctx, id: &str, file: (&str, &str)) -> Result<String> {
    let path = group(ctx, id, file.0)?.join(file.1);
    Ok(std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?.trim().to_owned())
}

fn own_group(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", ctx.pid(&id)?))?;
    ensure!(text.lines().any(|line| line.contains(&id)), "no group of its own: {text}");
    Ok(())
}

fn path(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    let name = format!("/{}-group/below", ctx.tag);
    bundle.set("/linux/cgroupsPath", json!(name))?;
    let id = ctx.detached(&bundle, "c")?;
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", ctx.pid(&id)?))?;
    ensure!(text.lines().any(|line| line.ends_with(&name)), "not in {name}: {text}");
    ctx.rt(&["delete", "--force", &id])?.success()?;
    // The parent was made on the way and is not the container's: runc leaves it, and so it is removed here.
    remove_parents(&format!("{}-group", ctx.tag));
    Ok(())
}

fn remove_parents(name: &str) {
    let tops = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
    for top in tops.chain([PathBuf::from("/sys/fs/cgroup")]) {
        // Absent in most hierarchies.
        let _gone = std::fs::remove_dir(top.join(name));
    }
}

fn limited(ctx: &Ctx, resources: Value) -> Result<String> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    bundle.set("/linux/resources", resources)?;
    ctx.detached(&bundle, "c")
}

const MIB: u64 = 1 << 20;

fn memory_v1(ctx: &Ctx) -> Result<()> {
    let id = limited(ctx, json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}))?;
    let limit = value(ctx, &id, ("memory", "memory.limit_in_bytes"))?;
    let soft = value(ctx, &id, ("memory", "memory.soft_limit_in_bytes"))?;
    ensure!(limit == (64 * MIB).to_string() && soft == (32 * MIB).to_string(), "{limit} {soft}");
    Ok(())
}

fn memory_v2(ctx: &Ctx) -> Result<()> {
    let id = limited(ctx, json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB}}))?;
    let limit = value(ctx, &id, ("", "memory.max"))?;
    let low = value(ctx, &id, ("", "memory.low"))?;
    ensure!(limit == (64 * MIB).to_string() && low == (32 * MIB).to_string(), "{limit} {low}");
    // memory+swap of v1 becomes swap alone; a kernel without swap accounting has no file for it.
    if let Ok(swap) = value(ctx, &id, ("", "memory.swap.max")) {
        ensure!(swap == (32 * MIB).to_string(), "swap: {swap}");
    }
    Ok(())
}

fn pids(ctx: &Ctx, controller: &str) -> Result<()> {
    let id = limited(ctx, json!({"pids": {"limit": 20}}))?;
    let max = value(ctx, &id, (controller, "pids.max"))?;
    ensure!(max == "20", "pids.max: {max}");
    Ok(())
}

fn cpu_v1(ctx: &Ctx) -> Result<()> {
    let id = limited(ctx, json!({"cpu": {"shares": 512, "quota": 50_000, "period": 100_000}}))?;
    let seen = ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"]
        .map(|f| value(ctx, &id, ("cpu", f)).unwrap_or_default());
    ensure!(seen == ["512", "50000", "100000"], "{seen:?}");
    Ok(())
}

fn cpu_v2(ctx: &Ctx) -> Result<()> {
    let id = limited(ctx, json!({"cpu": {"shares": 1024, "quota": 50_000, "period": 100_000}}))?;
    let max = value(ctx, &id, ("", "cpu.max"))?;
    ensure!(max == "50000 100000", "cpu.max: {max}");
    let weight = value(ctx, &id, ("", "cpu.weight"))?;
    // 39 by the linear conversion, 100 by the one that maps the default to the default.
    ensure!(["39", "100"].contains(&weight.as_str()), "cpu.weight: {weight}");
    Ok(())
}

fn update_v1(ctx: &Ctx) -> Result<()> {
    let id = limited(ctx, json!({"memory": {"limit": 64 * MIB}}))?;
    ctx.rt(&["update", "--memory", "50331648", &id])?.success()?;
    let limit = value(ctx, &id, ("memory", "memory.limit_in_bytes"))?;
    ensure!(limit == "50331648", "{limit}");
    let json = "{\"memory\": {\"limit\": 67108864}, \"cpu\": {\"shares\": 300}}";
    process::run_with_input(ctx.runtime().args(["update", "-r", "-", &id]), json, BOUND)?.success()?;
    let seen =
        (value(ctx, &id, ("memory", "memory.limit_in_bytes"))?, value(ctx, &id, ("cpu", "cpu.shares"))?);
    ensure!(seen == ("67108864".to_owned(), "300".to_owned()), "{seen:?}");
    Ok(())
}

fn update_v2(ctx: &Ctx) -> Result<()> {
    let id = limited(ctx, json!({"memory": {"limit": 64 * MIB}}))?;
    ctx.rt(&["update", "--memory", "50331648", "--pids-limit", "33", &id])?.success()?;
    let seen = (value(ctx, &id, ("", "memory.max"))?, value(ctx, &id, ("", "pids.max"))?);
    ensure!(seen == ("50331648".to_owned(), "33".to_owned()), "{seen:?}");
    Ok(())
}

fn update_stopped(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    ctx.rt(&["run", "--detach", "--bundle", bundle.path()?, &id])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ctx.rt(&["update", "--pids-limit", "20", &id])?.failure()?.says("container not running")?;
    Ok(())
}

fn update_sum(ctx: &Ctx) -> Result<()> {
    let id = limited(ctx, json!({"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}))?;
    let seen = || -> Result<[u64; 2]> {
        let mib = |file| -> Result<u64> { Ok(value(ctx, &id, ("", file))?.parse::<u64>()? / MIB) };
        Ok([mib("memory.max")?, mib("memory.swap.max")?])
    };
    for (flags, expected) in [
        (["--memory", "96M"], [96, 32]),
        (["--memory-swap", "160M"], [96, 64]),
        (["--memory", "100M"], [100, 60]),
        (["--memory", "160M"], [160, 0]),
    ] {
        ctx.rt(&["update", flags[0], flags[1], &id])?.success()?;
        ensure!(seen()? == expected, "{flags:?}: {:?} instead of {expected:?}", seen()?);
    }
    let refused = ctx.rt(&["update", "--memory", "161M", &id])?.failure()?;
    refused.says("memory+swap limit should be >= memory limit")?;
    ensure!(seen()? == [160, 0], "a refused update has changed {:?}", seen()?);
    Ok(())
}

fn pause(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    ctx.rt(&["pause", &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "paused", "after pause: {}", ctx.state(&id)?["status"]);
    ctx.rt(&["resume", &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "running", "after resume: {}", ctx.state(&id)?["status"]);
    Ok(())
}

fn exec_paused(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    ctx.rt(&["pause", &id])?.success()?;
    ctx.rt(&["exec", &id, "/probe", "exit", "0"])?.code(255)?.says("cannot exec in a paused container")?;
    ctx.rt(&["resume", &id])?.success()?;
    ctx.rt(&["exec", &id, "/probe", "exit", "6"])?.code(6)?;
    Ok(())
}

fn delete_paused(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    ctx.rt(&["pause", &id])?.success()?;
    ctx.rt(&["delete", "--force", &id])?.success()?;
    Ok(())
}

fn pause_created(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    ctx.rt(&["pause", &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "paused", "after pause: {}", ctx.state(&id)?["status"]);
    ctx.rt(&["start", &id])?.failure()?.says("cannot start a container in the paused state")?;
    ctx.rt(&["resume", &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "created", "after resume: {}", ctx.state(&id)?["status"]);
    ctx.rt(&["start", &id])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ctx.rt(&["delete", &id])?.success().map(drop)
}

fn hugetlb_v2(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    bundle.set("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": 4_194_304}]))?;
    let id = ctx.detached(&bundle, "c")?;
    let limit = value(ctx, &id, ("", "hugetlb.2MB.max"))?;
    ensure!(limit == "4194304", "hugetlb.2MB.max: {limit}");
    Ok(())
}

fn in_use(ctx: &Ctx) -> Result<()> {
    let first = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    let path = format!("/{}-shared", ctx.tag);
    first.set("/linux/cgroupsPath", json!(path))?;
    ctx.detached(&first, "first")?;
    let second = ctx.bundle_named("second", &["exit", "0"])?;
    second.set("/linux/cgroupsPath", json!(path))?;
    ctx.run(&second, &ctx.id("second"))?.failure()?.says("cgroup")?;
    Ok(())
}

fn mount(ctx: &Ctx) -> Result<()> {
    let dir = if ctx.host.pure_v2 { "/sys/fs/cgroup/x" } else { "/sys/fs/cgroup/pids/x" };
    let bundle = ctx.bundle(&["mkdir", dir, ",", "show"])?;
    bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}))?;
    bundle.edit(|config| push(config, "/linux/namespaces", json!({"type": "cgroup"})))?;
    let seen = ctx.output(&bundle)?;
    let (made, shown) = seen.split_once('\n').unwrap_or_default();
    ensure!(made == format!("mkdir {dir}: EROFS"), "{made}");
    let shown: Value = serde_json::from_str(shown)?;
    let mounts = shown["mounts"].as_array().cloned().unwrap_or_default();
    ensure!(
        mounts.iter().any(|m| m["type"].as_str().is_some_and(|t| t.starts_with("cgroup"))),
        "no cgroup mount"
    );
    Ok(())
}

fn stats(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let json: Value = serde_json::from_str(&ctx.rt(&["events", "--stats", &id])?.success()?.out)?;
    ensure!(json["type"] == "stats" && json["id"] == id.as_str(), "{json}");
    ensure!(json["data"]["pids"].is_object() && json["data"]["cpu"].is_object(), "{json}");
    Ok(())
}

fn ps(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let pid = ctx.pid(&id)?;
    let pids: Value = serde_json::from_str(&ctx.rt(&["ps", "--format", "json", &id])?.success()?.out)?;
    ensure!(pids == json!([pid]), "json: {pids}");
    let table = ctx.rt(&["ps", &id])?.success()?.out;
    ensure!(
        table.starts_with("UID") && table.lines().count() == 2 && table.contains(&pid.to_string()),
        "table: {table}"
    );
    Ok(())
}

fn kill_all(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["spawn", "3", ",", "write", "/ready", "", ",", "stop"])?;
    bundle.edit(|config| {
        if let Some(list) = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
            list.retain(|ns| ns["type"] != "pid");
        }
    })?;
    let id = ctx.detached(&bundle, "c")?;
    let pids: Vec<u32> = serde_json::from_str(&ctx.rt(&["ps", "--format", "json", &id])?.success()?.out)?;
    ensure!(pids.len() == 4, "{} processes", pids.len());
    ctx.rt(&["kill", &id, "KILL"])?.success()?;
    process::until("all four have ended", BOUND, || {
        Ok(pids.iter().all(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |s| s.contains(") Z"))
        }))
    })
}
