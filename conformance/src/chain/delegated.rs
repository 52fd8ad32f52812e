//! containerd without root, where the user's systemd gives containers cgroups with limits: as the shim's README tells a user.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::containerd::{Containerd, IMAGE, PATIENCE, Privilege, archive, end, nothing_is_left, tells};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/ctr-rootless-delegated",
    source: "shim/README.md: containerd without root",
    needs: &[
        Need::OrdinaryUser,
        Need::UserNamespaces,
        Need::SubordinateIds,
        Need::Managed("memory"),
        Need::Managed("pids"),
        Need::Program("nsenter"),
        Need::Program("containerd"),
        Need::Program("ctr"),
    ],
    run: delegated,
}];

fn delegated(ctx: &Ctx) -> Result<()> {
    let archive = archive(ctx)?;
    let containerd = Containerd::start_as(Privilege::Delegated, ctx)?;
    containerd.ctr(&["image", "import", &archive.to_string_lossy()])?.success()?;
    let verdict = limited(ctx, &containerd).and_then(|()| nothing_is_left(ctx, &containerd));
    end(ctx, containerd, verdict)
}

/// The limits that root's containers have, and what needs a cgroup of the container's own.
fn limited(ctx: &Ctx, containerd: &Containerd) -> Result<()> {
    let id = ctx.id("c");
    let scope = format!("user.slice:ctr:{id}");
    let fixed = ["run", "--detach", "--runtime", "io.containerd.coracle.v2"];
    let limits = ["--cgroup", &scope, "--memory-limit", "67108864"];
    containerd.ctr(&[&fixed[..], &limits, &[IMAGE, &id, "/probe", "stop"]].concat())?.success()?;
    let text = containerd.ctr(&["task", "metrics", "--format", "json", &id])?.success()?.out;
    let seen: Value = serde_json::from_str(&text).with_context(|| format!("read {text:?}"))?;
    ensure!(seen["memory"]["usage_limit"] == 67_108_864 && seen["pids"]["current"] == 1, "{text}");
    let status = || -> Result<String> {
        let listed = containerd.ctr(&["task", "ls"])?.success()?.out;
        let line = listed.lines().find(|line| line.starts_with(&id)).unwrap_or_default();
        Ok(line.split_whitespace().nth(2).unwrap_or("NONE").to_owned())
    };
    containerd.ctr(&["task", "pause", &id])?.success()?;
    ensure!(status()? == "PAUSED", "it is {}", status()?);
    containerd.ctr(&["task", "resume", &id])?.success()?;
    ensure!(status()? == "RUNNING", "it is {}", status()?);
    containerd.ctr(&["task", "exec", "--exec-id", "e", &id, "/probe", "exit", "9"])?.code(9)?;
    containerd.ctr(&["task", "kill", "--signal", "KILL", &id])?.success()?;
    process::until("the task has stopped", PATIENCE, || Ok(status()? == "STOPPED"))?;
    tells(containerd.ctr(&["task", "delete", &id])?, 137)?;
    containerd.ctr(&["container", "delete", &id])?.success()?;
    Ok(())
}
