//! A task that is written to an image by containerd and goes on from it under another name: CRIU through the runtime.

use std::process::Stdio;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::containerd::{PATIENCE, tells};
use super::engine::{put_away, under};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Running};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/ctr-checkpoint-restore",
    source: "Task.Checkpoint, CreateTaskRequest.checkpoint",
    needs: &[
        Need::Root,
        Need::Controller("cpu"),
        Need::Criu,
        Need::Program("containerd"),
        Need::Program("ctr"),
    ],
    run: restored,
}];

const IMAGE: &str = "checkpoint:latest";

fn restored(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let mut watch: Running = process::start(&mut engine.containerd.command(&["events"])?, Stdio::null())?;
        process::until("events are seen", PATIENCE, || {
            engine.containerd.ctr(&["namespace", "label", "default", "seen=yes"])?.success()?;
            Ok(watch.so_far()?.contains("/namespaces/update"))
        })?;
        let (id, again) = (engine.id.clone(), engine.ctx.id("again"));
        engine.run(&["--detach"], &[&id, "/probe", "wait", ",", "exit", "7"])?.success()?;
        engine
            .containerd
            .ctr(&["container", "checkpoint", "--task", "--image", "--rw", &id, IMAGE])?
            .success()?;
        ensure!(engine.status()? == "RUNNING", "it is {} after a checkpoint", engine.status()?);
        process::until("the checkpoint is told", PATIENCE, || {
            Ok(watch.so_far()?.contains("/tasks/checkpointed"))
        })?;
        engine.task(&["kill", "--signal", "TERM", &id])?.success()?;
        put_away(&engine, 7)?;
        engine.containerd.ctr(&["container", "restore", "--live", "--rw", &again, IMAGE])?.success()?;
        let listed = engine.task(&["ls"])?.success()?.out;
        ensure!(listed.lines().any(|line| line.starts_with(&again) && line.contains("RUNNING")), "{listed}");
        let said = engine.task(&["exec", "--exec-id", "e1", &again, "/probe", "print", "inside"])?;
        said.success()?.out("inside\n")?;
        // The signal mask, and the place in the program, are those of the first life.
        engine.task(&["kill", "--signal", "TERM", &again])?.success()?;
        process::until("the task has stopped", PATIENCE, || {
            let listed = engine.task(&["ls"])?.success()?.out;
            Ok(listed.lines().any(|line| line.starts_with(&again) && line.contains("STOPPED")))
        })?;
        tells(engine.task(&["delete", &again])?, 7)?;
        engine.containerd.ctr(&["container", "delete", &again])?.success()?;
        watch.signal(Signal::SIGTERM)?;
        watch.end(PATIENCE)?;
        Ok(engine.containerd)
    })
}
