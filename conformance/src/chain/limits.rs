//! What a shim says about a container's limits and use: statistics of both kinds, its processes, a kill for want of memory;
//! and options that only shims have.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::containerd::PATIENCE;
use super::engine::{NEEDS, put_away, shim_of, under};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Running};

const MEMORY: &[Need] = &[
    Need::Root,
    Need::Controller("cpu"),
    Need::Controller("memory"),
    Need::Controller("pids"),
    Need::Program("containerd"),
    Need::Program("ctr"),
];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/ctr-metrics",
        source: "Task.Stats: io.containerd.cgroups.v1 and v2",
        needs: MEMORY,
        run: metrics,
    },
    Case { name: "chain/ctr-pids-name-execs", source: "Task.Pids: ProcessDetails", needs: NEEDS, run: pids },
    Case {
        name: "chain/ctr-oom-event",
        source: "containerd/docs: runtime v2, TaskOOM",
        needs: MEMORY,
        run: oom,
    },
    Case {
        name: "chain/ctr-shim-cgroup",
        source: "runc v2 shim: ShimCgroup",
        needs: NEEDS,
        run: shim_cgroup,
    },
    Case {
        name: "chain/ctr-wrong-option",
        source: "shim/README.md: Options",
        needs: NEEDS,
        run: wrong_option,
    },
];

/// Both kinds of metrics say how many processes there are, what the limit is, and that time and memory were used.
fn metrics(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let id = engine.id.clone();
        engine.run(&["--detach", "--memory-limit", "67108864"], &[&id, "/probe", "stop"])?.success()?;
        let text = engine.task(&["metrics", "--format", "json", &id])?.success()?.out;
        let seen: Value = serde_json::from_str(&text).with_context(|| format!("read {text:?}"))?;
        let (limit, used, time) = match engine.ctx.host.pure_v2 {
            true => ("/memory/usage_limit", "/memory/usage", "/cpu/usage_usec"),
            false => ("/memory/usage/limit", "/memory/usage/usage", "/cpu/usage/total"),
        };
        let figure = |at: &str| {
            let value = seen.pointer(at).with_context(|| format!("find {at} in {text}"))?;
            value.as_u64().with_context(|| format!("read {at}: {value}"))
        };
        ensure!(figure("/pids/current")? == 1, "{text}");
        ensure!(figure(limit)? == 64 << 20, "{text}");
        ensure!(figure(used)? > 0 && figure(time)? > 0, "{text}");
        engine.task(&["kill", "--signal", "KILL", &id])?.success()?;
        put_away(&engine, 137)?;
        Ok(engine.containerd)
    })
}

fn pids(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let id = engine.id.clone();
        engine.run(&["--detach"], &[&id, "/probe", "stop"])?.success()?;
        engine.task(&["exec", "--detach", "--exec-id", "second", &id, "/probe", "stop"])?.success()?;
        let listed = engine.task(&["ps", &id])?.success()?.out;
        let named = listed.lines().filter(|line| line.contains("second")).count();
        ensure!(
            (listed.lines().count(), named) == (3, 1),
            "a heading, init and the exec by its name: {listed}"
        );
        engine.task(&["kill", "--exec-id", "second", "--signal", "KILL", &id])?.success()?;
        process::until("the exec is gone from the list", PATIENCE, || {
            Ok(engine.task(&["ps", &id])?.success()?.out.lines().count() == 2)
        })?;
        engine.task(&["kill", "--signal", "KILL", &id])?.success()?;
        put_away(&engine, 137)?;
        Ok(engine.containerd)
    })
}

/// The kill is told before the exit that it caused.
fn oom(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let mut watch: Running = process::start(&mut engine.containerd.command(&["events"])?, Stdio::null())?;
        process::until("events are seen", PATIENCE, || {
            engine.containerd.ctr(&["namespace", "label", "default", "seen=yes"])?.success()?;
            Ok(watch.so_far()?.contains("/namespaces/update"))
        })?;
        let flags = ["--detach", "--memory-limit", "33554432"];
        engine.run(&flags, &[&engine.id, "/probe", "eat", "256"])?.success()?;
        put_away(&engine, 137)?;
        process::until("the last event is seen", PATIENCE, || Ok(watch.so_far()?.contains("/tasks/delete")))?;
        let seen = watch.so_far()?;
        let topics: Vec<&str> = seen.split_whitespace().filter(|word| word.starts_with("/tasks/")).collect();
        let expected = ["/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit", "/tasks/delete"];
        ensure!(topics == expected, "{topics:?}");
        watch.signal(Signal::SIGTERM)?;
        watch.end(PATIENCE)?;
        Ok(engine.containerd)
    })
}

fn shim_cgroup(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let name = engine.ctx.id("shims");
        let top = if engine.ctx.host.pure_v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/cpu" };
        let dir = Path::new(top).join(&name);
        std::fs::create_dir(&dir)?;
        let group = format!("/{name}");
        let options = engine.ctx.path("options.toml");
        std::fs::write(&options, format!("ShimCgroup = \"{group}\"\n"))?;
        let options = options.display().to_string();
        let flags = ["--detach", "--runtime-config-path", &options];
        engine.run(&flags, &[&engine.id, "/probe", "stop"])?.success()?;
        let shim = shim_of(&engine)?;
        let joined = std::fs::read_to_string(format!("/proc/{shim}/cgroup"))?;
        ensure!(joined.lines().any(|line| line.ends_with(&group)), "the shim is in {joined}");
        let inside = engine.exec("e1", &["/probe", "cat", "/proc/self/cgroup"])?.success()?.out;
        ensure!(!inside.contains("shims"), "so is the container: {inside}");
        engine.task(&["kill", "--signal", "KILL", &engine.id])?.success()?;
        put_away(&engine, 137)?;
        // The operator's cgroup is the operator's to remove, once the shim in it has ended.
        process::until("the shim's cgroup is empty", PATIENCE, || Ok(std::fs::remove_dir(&dir).is_ok()))?;
        Ok(engine.containerd)
    })
}

fn wrong_option(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let options = engine.ctx.path("options.toml");
        std::fs::write(&options, "SystemdCgroups = true\n")?;
        let options = options.display().to_string();
        let flags = ["--detach", "--runtime-config-path", &options];
        let said = "runtime options, line 1: unknown option SystemdCgroups";
        engine.run(&flags, &[&engine.id, "/probe", "stop"])?.failure()?.says(said)?;
        engine.containerd.ctr(&["container", "delete", &engine.id])?.success()?;
        Ok(engine.containerd)
    })
}
