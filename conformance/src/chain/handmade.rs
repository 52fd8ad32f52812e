//! A container made by hand: `runtime spec`, a busybox root, and the verbs, as the README shows.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::assets;
use crate::bundle::put;
use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/handmade-run",
        source: "issue 2: a container made by hand",
        needs: &[Need::UserNamespaces],
        run,
    },
    Case {
        name: "chain/handmade-verbs",
        source: "issue 2: create, start, state, exec, kill, delete, list",
        needs: &[Need::UserNamespaces],
        run: verbs,
    },
];

/// `spec` in a new directory with busybox as `/bin/sh` and the rest.
fn bundle(ctx: &Ctx) -> Result<PathBuf> {
    let dir = ctx.path("bundle");
    let bin = dir.join("rootfs/bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy(assets::get(&ctx.binaries, "busybox")?, bin.join("busybox"))?;
    std::fs::set_permissions(bin.join("busybox"), std::fs::Permissions::from_mode(0o755))?;
    for name in ["sh", "cat", "id", "ls", "sleep", "hostname", "kill"] {
        std::os::unix::fs::symlink("busybox", bin.join(name))?;
    }
    let mut command = Command::new(&ctx.subject.path);
    command.arg("spec").current_dir(&dir);
    if !ctx.host.root {
        command.arg("--rootless");
    }
    process::run(&mut command, BOUND)?.success()?;
    Ok(dir)
}

fn edit(dir: &std::path::Path, changes: &[(&str, Value)]) -> Result<()> {
    let file = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    ensure!(
        config["process"]["terminal"] == true,
        "spec without a terminal: {}",
        config["process"]["terminal"]
    );
    for (pointer, value) in changes {
        put(&mut config, pointer, value.clone());
    }
    Ok(std::fs::write(file, config.to_string())?)
}

fn run(ctx: &Ctx) -> Result<()> {
    let dir = bundle(ctx)?;
    let script = "echo hello from $(hostname) as $(id -u):$(id -g), process $$; exit 5";
    edit(&dir, &[("/process/terminal", json!(false)), ("/process/args", json!(["sh", "-c", script]))])?;
    let id = ctx.id("c1");
    let ended = process::run(ctx.runtime().args(["run", &id]).current_dir(&dir), BOUND)?;
    ended.code(5)?.out("hello from runc as 0:0, process 1\n")?;
    Ok(())
}

fn verbs(ctx: &Ctx) -> Result<()> {
    let dir = bundle(ctx)?;
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 1; done";
    let edits = [
        ("/process/terminal", json!(false)),
        ("/process/args", json!(["sh", "-c", script])),
        ("/root/readonly", json!(false)),
    ];
    edit(&dir, &edits)?;
    let id = ctx.id("c2");
    let path = dir.to_string_lossy().into_owned();
    ctx.rt(&["create", "--bundle", &path, &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "created", "after create: {}", ctx.state(&id)?);
    ctx.rt(&["start", &id])?.success()?;
    ensure!(ctx.state(&id)?["status"] == "running", "after start: {}", ctx.state(&id)?);
    ctx.rt(&["exec", &id, "sh", "-c", "echo inside; cat /proc/1/comm; exit 4"])?
        .code(4)?
        .out("inside\nsh\n")?;
    ensure!(ctx.rt(&["list"])?.success()?.out.contains(&id), "list does not show {id}");
    ctx.rt(&["exec", &id, "sh", "-c", "until [ -e /up ]; do ls / >/up; done"])?.success()?;
    process::until("TERM ends it", BOUND, || {
        if ctx.state(&id)?["status"] == "stopped" {
            return Ok(true);
        }
        // The shell may not have set its trap yet: then process 1 ignores the signal.
        let _sent = ctx.rt(&["kill", &id, "TERM"])?;
        Ok(false)
    })?;
    ctx.rt(&["delete", &id])?.success()?;
    ctx.rt(&["state", &id])?.failure()?.says("does not exist")?;
    Ok(())
}
