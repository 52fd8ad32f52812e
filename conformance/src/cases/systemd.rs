//! Cgroups by systemd: what its properties and the files say, which is to be the same.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bundle::put;
use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

const NEEDS: &[Need] = &[Need::Systemd];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "systemd/a-scope-in-its-slice",
        source: "runc docs/systemd.md: slice:prefix:name",
        needs: NEEDS,
        run: scope,
    },
    Case {
        name: "systemd/limits-are-properties",
        source: "runc docs/systemd.md; systemd.resource-control(5): a reload writes what the properties say",
        needs: NEEDS,
        run: |ctx| {
            let resources = json!({
                "memory": {"limit": 67_108_864, "reservation": 33_554_432}, "pids": {"limit": 50},
                "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0"},
            });
            let said = [
                ("MemoryMax", "67108864"),
                ("MemoryLow", "33554432"),
                ("TasksMax", "50"),
                ("CPUQuotaPerSecUSec", "500ms"),
                ("AllowedCPUs", "0"),
            ];
            limits(ctx, &resources, &said)
        },
    },
    Case {
        name: "systemd/unified-limits-are-properties",
        source: "runc docs/systemd.md, cgroup v2 resources: unified",
        needs: NEEDS,
        run: |ctx| {
            let resources = json!({"unified": {
                "memory.min": "131072", "memory.low": "524288", "memory.high": "33554432", "memory.max": "67108864",
                "pids.max": "42", "cpu.max": "5000 50000", "cpu.weight": "42", "cpuset.cpus": "0",
            }});
            let said = [
                ("MemoryMin", "131072"),
                ("MemoryLow", "524288"),
                ("MemoryHigh", "33554432"),
                ("MemoryMax", "67108864"),
                ("TasksMax", "42"),
                ("CPUQuotaPerSecUSec", "100ms"),
                ("CPUWeight", "42"),
                ("AllowedCPUs", "0"),
            ];
            limits(ctx, &resources, &said)
        },
    },
    Case {
        name: "systemd/a-reload-changes-nothing",
        source: "systemd.resource-control(5)",
        needs: NEEDS,
        run: reload,
    },
    Case {
        name: "systemd/the-quota-is-the-one-that-systemd-rounds-to",
        source: "runc update --cpu-period; systemd counts in steps of 10 ms",
        needs: NEEDS,
        run: quota,
    },
    Case {
        name: "systemd/a-limit-below-the-use-is-refused-before-it-kills",
        source: "runtime-spec config-linux.md#memory checkBeforeUpdate",
        needs: NEEDS,
        run: check_before_update,
    },
    Case {
        name: "systemd/update-memory-keeps-the-sum",
        source: "runc update: the sum of memory and swap is kept; systemd is told",
        needs: NEEDS,
        run: sum,
    },
    Case {
        name: "systemd/an-update-keeps-the-oom-group",
        source: "runc: memory.oom.group is OOMPolicy, since systemd writes the file from it; kubelet asks for the group",
        needs: NEEDS,
        run: oom_group,
    },
    Case {
        name: "systemd/a-unit-of-that-name-is-not-touched",
        source: "facts/security: only what the runtime has made is taken back",
        needs: NEEDS,
        run: unit_exists,
    },
    Case {
        name: "systemd/annotations-are-properties",
        source: "runc docs/systemd.md: org.systemd.property",
        needs: NEEDS,
        run: annotations,
    },
    Case {
        name: "systemd/a-bad-annotation-is-an-error",
        source: "security.md: annotations as injection",
        needs: NEEDS,
        run: bad_annotation,
    },
];

/// A container with these resources in a scope of its own; gives its id and the unit.
fn started(ctx: &Ctx, change: impl FnOnce(&mut Value)) -> Result<(String, String)> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    let id = ctx.id("c");
    bundle.edit(|config| {
        put(config, "/linux/cgroupsPath", json!(format!("system.slice:conformance:{id}")));
        change(config);
    })?;
    ctx.rt(&["--systemd-cgroup", "run", "--detach", "--bundle", bundle.path()?, &id])?.success()?;
    Ok((id.clone(), format!("conformance-{id}.scope")))
}

fn property(unit: &str, name: &str) -> Result<String> {
    let mut show = std::process::Command::new("systemctl");
    let said = process::run(show.args(["show", "--value", "--property", name, unit]), BOUND)?.success()?;
    Ok(said.out.trim().to_owned())
}

fn file(unit: &str, name: &str) -> Result<String> {
    let path = format!("/sys/fs/cgroup/system.slice/{unit}/{name}");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    Ok(text.trim().to_owned())
}

fn scope(ctx: &Ctx) -> Result<()> {
    let (id, unit) = started(ctx, |_| {})?;
    let group = property(&unit, "ControlGroup")?;
    ensure!(group == format!("/system.slice/{unit}"), "the control group of {unit} is {group:?}");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", ctx.pid(&id)?))?;
    ensure!(own.trim() == format!("0::{group}"), "init is in {own}");
    let delegated = property(&unit, "Delegate")?;
    ensure!(delegated == "yes", "Delegate is {delegated:?}");
    ctx.rt(&["--systemd-cgroup", "delete", "--force", &id])?.success()?;
    // systemd forgets a stopped unit when it comes to it.
    process::until(
        &format!("{unit} is forgotten"),
        BOUND,
        || Ok(property(&unit, "LoadState")? == "not-found"),
    )
}

fn limits(ctx: &Ctx, resources: &Value, expected: &[(&str, &str)]) -> Result<()> {
    let (_, unit) = started(ctx, |config| put(config, "/linux/resources", resources.clone()))?;
    for (name, value) in expected {
        let said = property(&unit, name)?;
        ensure!(said == *value, "systemd's {name} is {said:?}, expected {value:?}");
    }
    Ok(())
}

fn reload(ctx: &Ctx) -> Result<()> {
    let unified = json!({"unified": {"memory.min": "131072", "pids.max": "42", "cpu.max": "5000 50000"}});
    let (_, unit) = started(ctx, |config| put(config, "/linux/resources", unified))?;
    let seen = || ["memory.min", "pids.max", "cpu.max"].map(|name| file(&unit, name).unwrap_or_default());
    let before = seen();
    ensure!(before == ["131072", "42", "5000 50000"], "before the reload: {before:?}");
    process::run(std::process::Command::new("systemctl").arg("daemon-reload"), BOUND)?.success()?;
    // Any other change makes systemd write all that it knows of the unit.
    let mut set = std::process::Command::new("systemctl");
    process::run(set.args(["set-property", "--runtime", &unit, "IOWeight=50"]), BOUND)?.success()?;
    let after = seen();
    ensure!(after == before, "after the reload: {after:?}");
    Ok(())
}

fn quota(ctx: &Ctx) -> Result<()> {
    let cpu = json!({"cpu": {"quota": 500_000, "period": 1_000_000}});
    let (id, unit) = started(ctx, |config| put(config, "/linux/resources", cpu))?;
    ctx.rt(&["update", "--cpu-period", "900000", &id])?.success()?;
    let said = (property(&unit, "CPUQuotaPerSecUSec")?, file(&unit, "cpu.max")?);
    ensure!(said == ("560ms".to_owned(), "504000 900000".to_owned()), "{said:?}");
    Ok(())
}

fn sum(ctx: &Ctx) -> Result<()> {
    let memory = json!({"memory": {"limit": 104_857_600, "swap": 209_715_200}});
    let (id, unit) = started(ctx, |config| put(config, "/linux/resources", memory))?;
    ctx.rt(&["update", "--memory", "157286400", &id])?.success()?;
    let said = (property(&unit, "MemorySwapMax")?, file(&unit, "memory.swap.max")?);
    ensure!(said == ("52428800".to_owned(), "52428800".to_owned()), "{said:?}");
    Ok(())
}

fn oom_group(ctx: &Ctx) -> Result<()> {
    let group = json!({"unified": {"memory.oom.group": "1"}});
    let (id, unit) = started(ctx, |config| put(config, "/linux/resources", group))?;
    let before = file(&unit, "memory.oom.group")?;
    ctx.rt(&["update", "--memory", "157286400", &id])?.success()?;
    let seen = (before, file(&unit, "memory.oom.group")?, file(&unit, "memory.max")?);
    ensure!(seen == ("1".to_owned(), "1".to_owned(), "157286400".to_owned()), "{seen:?}");
    Ok(())
}

/// Of another slice, so that no directory tells of it.
fn unit_exists(ctx: &Ctx) -> Result<()> {
    let id = ctx.id("c");
    let unit = format!("conformance-{id}.scope");
    let mut other = std::process::Command::new("systemd-run");
    other.args(["--scope", "--slice=machine.slice", "--unit", &unit, "sleep", "300"]);
    let _other = process::start(&mut other, std::process::Stdio::null())?;
    let active = || Ok(property(&unit, "ActiveState")? == "active");
    process::until("the other scope runs", BOUND, active)?;
    let bundle = ctx.bundle(&["stop"])?;
    bundle.edit(|config| {
        put(config, "/linux/cgroupsPath", json!(format!("system.slice:conformance:{id}")));
    })?;
    for verb in [&["run"][..], &["create"]] {
        let words = [&["--systemd-cgroup"][..], verb, &["--bundle", bundle.path()?, &id]].concat();
        ctx.rt(&words)?.failure()?;
        ensure!(active()?, "{verb:?} has stopped a scope that is not its own");
    }
    // One that was killed in between leaves an intent.
    for moment in (0..12).map(|n| std::time::Duration::from_millis(5 * n)) {
        let words = ["--systemd-cgroup", "create", "--bundle", bundle.path()?, &id];
        let mut running = ctx.rt_start(&words)?;
        if running.ends_within(moment)?.is_none() {
            running.signal(nix::sys::signal::Signal::SIGKILL)?;
            running.ends_within(BOUND)?.context("end of SIGKILL")?;
        }
        ctx.rt(&["--systemd-cgroup", "delete", "--force", &id])?.success()?;
        ensure!(active()?, "delete --force has stopped a scope that is not the container's");
    }
    process::run(std::process::Command::new("systemctl").args(["stop", &unit]), BOUND)?.success().map(drop)
}

fn check_before_update(ctx: &Ctx) -> Result<()> {
    let (id, _) = started(ctx, |_| {})?;
    for (swap, refused) in [("", "memory limit 1024"), (r#""swap": 2048,"#, "memory+swap limit 2048")] {
        let json = format!(r#"{{"memory": {{"limit": 1024, {swap} "checkBeforeUpdate": true}}}}"#);
        let ended = process::run_with_input(ctx.runtime().args(["update", "-r", "-", &id]), &json, BOUND)?;
        ended.code(1)?.says(&format!("rejecting {refused} because current usage is"))?;
    }
    ensure!(ctx.state(&id)?["status"] == "running", "the container is {}", ctx.state(&id)?["status"]);
    Ok(())
}

fn annotations(ctx: &Ctx) -> Result<()> {
    let given = json!({
        "org.systemd.property.TimeoutStopUSec": "uint64 123456789",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
    });
    let (_, unit) = started(ctx, |config| put(config, "/annotations", given))?;
    let said = (property(&unit, "TimeoutStopUSec")?, property(&unit, "CollectMode")?);
    ensure!(said == ("2min 3.456789s".to_owned(), "inactive-or-failed".to_owned()), "{said:?}");
    Ok(())
}

fn bad_annotation(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.edit(|config| {
        put(config, "/annotations", json!({"org.systemd.property.CollectMode": "'a', 'b'"}));
    })?;
    let ended = ctx.rt(&["--systemd-cgroup", "run", "--bundle", bundle.path()?, &ctx.id("c")])?;
    ensure!(ended.code != 0, "it ran");
    ensure!(ended.err.contains("org.systemd.property.CollectMode"), "{}", ended.err);
    Ok(())
}
