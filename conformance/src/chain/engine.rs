//! What containerd asks of a shim beyond a container's life: the whole task API, many at once, restarts and sudden deaths.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::containerd::{Containerd, IMAGE, PATIENCE, archive, stop, tells};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Ended, Running};

pub(super) const NEEDS: &[Need] =
    &[Need::Root, Need::Controller("cpu"), Need::Program("containerd"), Need::Program("ctr")];

pub(crate) const CASES: &[Case] = &[
    Case { name: "chain/ctr-task-api", source: "containerd.task.v2.Task", needs: NEEDS, run: task_api },
    Case {
        name: "chain/ctr-events-in-order",
        source: "containerd/docs: runtime v2, events",
        needs: NEEDS,
        run: events,
    },
    Case { name: "chain/ctr-pod-has-one-shim", source: "runc v2 shim: grouping", needs: NEEDS, run: pod },
    Case { name: "chain/ctr-log-file", source: "containerd/cio: LogURI", needs: NEEDS, run: log_file },
    Case {
        name: "chain/containerd-killed",
        source: "issue 6: re-adopted",
        needs: NEEDS,
        run: containerd_killed,
    },
    Case {
        name: "chain/shim-killed",
        source: "issue 6: delete after a kill -9",
        needs: NEEDS,
        run: shim_killed,
    },
];

/// One container's engine, for the time of a case.
pub(super) struct Engine<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) containerd: Containerd,
    pub(super) id: String,
}

impl Engine<'_> {
    pub(super) fn run(&self, flags: &[&str], words: &[&str]) -> Result<Ended> {
        let fixed: &[&str] = &["run", "--runtime", "io.containerd.coracle.v2"];
        self.containerd.ctr(&[fixed, flags, &[IMAGE], words].concat())
    }

    pub(super) fn exec(&self, exec_id: &str, words: &[&str]) -> Result<Ended> {
        self.containerd.ctr(&[&["task", "exec", "--exec-id", exec_id, &self.id], words].concat())
    }

    pub(super) fn task(&self, words: &[&str]) -> Result<Ended> {
        self.containerd.ctr(&[&["task"], words].concat())
    }

    pub(super) fn status(&self) -> Result<String> {
        let listed = self.task(&["ls"])?.success()?.out;
        let line = listed.lines().find(|line| line.starts_with(&self.id)).unwrap_or_default();
        Ok(line.split_whitespace().nth(2).unwrap_or("NONE").to_owned())
    }

    pub(super) fn until(&self, status: &str) -> Result<()> {
        process::until(&format!("the task is {status}"), PATIENCE, || Ok(self.status()? == status))
    }
}

/// Runs `claim` under a containerd of its own and takes everything down, whatever came of it.
pub(super) fn under(ctx: &Ctx, claim: impl FnOnce(Engine) -> Result<Containerd>) -> Result<()> {
    let archive = archive(ctx)?;
    let containerd = Containerd::start(ctx)?;
    containerd.ctr(&["image", "import", &archive.to_string_lossy()])?.success()?;
    let containerd = claim(Engine { ctx, containerd, id: ctx.id("c") })?;
    stop(ctx, containerd)
}

/// Ends the container `id` and deletes it; its task's code is the task's own.
pub(super) fn put_away(engine: &Engine, code: i32) -> Result<()> {
    engine.until("STOPPED")?;
    tells(engine.task(&["delete", &engine.id])?, code)?;
    engine.containerd.ctr(&["container", "delete", &engine.id])?.success()?;
    Ok(())
}

fn task_api(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let id = engine.id.clone();
        engine.run(&["--detach"], &[&id, "/probe", "wait", ",", "exit", "7"])?.success()?;
        engine
            .exec("e1", &["/probe", "print", "out", ",", "err", "error"])?
            .success()?
            .out("out\n")?
            .says("error")?;
        let mut cat =
            engine.containerd.command(&["task", "exec", "--exec-id", "e2", &id, "/probe", "stdin"])?;
        process::run_with_input(&mut cat, "typed", PATIENCE)?.success()?.out("stdin: \"typed\"\n")?;
        engine.exec("e3", &["/absent"])?.code(1)?.says("OCI runtime exec failed: ")?;
        let listed = engine.task(&["ps", &id])?.success()?.out;
        ensure!(listed.lines().count() == 2, "one process: {listed}");
        engine.task(&["metrics", &id])?.success()?;
        engine.task(&["pause", &id])?.success()?;
        ensure!(engine.status()? == "PAUSED", "it is {}", engine.status()?);
        engine.task(&["resume", &id])?.success()?;
        ensure!(engine.status()? == "RUNNING", "it is {}", engine.status()?);
        engine.task(&["delete", &id])?.failure()?.says("failed precondition")?;
        engine.task(&["kill", "--signal", "SIGTERM", &id])?.success()?;
        engine.until("STOPPED")?;
        engine.task(&["kill", &id])?.failure()?.says("process already finished")?;
        put_away(&engine, 7)?;
        engine.run(&["--rm"], &[&id, "/absent"])?.code(1)?.says("OCI runtime create failed: ")?;
        Ok(engine.containerd)
    })
}

fn events(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let mut watch: Running = process::start(&mut engine.containerd.command(&["events"])?, Stdio::null())?;
        let id = engine.id.clone();
        // The watcher has subscribed once it has seen something.
        process::until("events are seen", PATIENCE, || {
            engine.containerd.ctr(&["namespace", "label", "default", "seen=yes"])?.success()?;
            Ok(watch.so_far()?.contains("/namespaces/update"))
        })?;
        engine.run(&["--detach"], &[&id, "/probe", "wait"])?.success()?;
        engine.exec("e1", &["/probe", "exit", "3"])?.code(3)?;
        engine.task(&["pause", &id])?.success()?;
        engine.task(&["resume", &id])?.success()?;
        engine.task(&["kill", "--signal", "KILL", &id])?.success()?;
        put_away(&engine, 137)?;
        process::until("the last event is seen", PATIENCE, || Ok(watch.so_far()?.contains("/tasks/delete")))?;
        let seen = watch.so_far()?;
        let topics: Vec<&str> = seen.split_whitespace().filter(|word| word.starts_with("/tasks/")).collect();
        let expected = [
            "/tasks/create",
            "/tasks/start",
            "/tasks/exec-added",
            "/tasks/exec-started",
            "/tasks/exit",
            "/tasks/paused",
            "/tasks/resumed",
            "/tasks/exit",
            "/tasks/delete",
        ];
        ensure!(topics == expected, "{topics:?}");
        watch.signal(Signal::SIGTERM)?;
        watch.end(PATIENCE)?;
        Ok(engine.containerd)
    })
}

/// The shim of the only container.
pub(super) fn shim_of(engine: &Engine) -> Result<u32> {
    let found = crate::worker::described_descendants();
    let line = found.iter().find(|line| line.contains("containerd-shim-coracle"));
    let line = line.with_context(|| format!("find the shim of {}", engine.id))?;
    Ok(line.split(' ').nth(1).context("find its process id")?.parse()?)
}

pub(super) fn shims() -> usize {
    crate::worker::described_descendants()
        .iter()
        .filter(|line| line.contains("containerd-shim-coracle"))
        .count()
}

fn pod(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let pod = ["--detach", "--annotation", "io.kubernetes.cri.sandbox-id=pod"];
        let other = engine.ctx.id("other");
        engine.run(&pod, &[&engine.id, "/probe", "stop"])?.success()?;
        engine.run(&pod, &[&other, "/probe", "stop"])?.success()?;
        ensure!(shims() == 1, "{} shims for a pod of two", shims());
        tells(engine.task(&["delete", "--force", &other])?, 137)?;
        engine.containerd.ctr(&["container", "delete", &other])?.success()?;
        engine.exec("e1", &["/probe", "print", "alive"])?.success()?.out("alive\n")?;
        engine.task(&["kill", "--signal", "KILL", &engine.id])?.success()?;
        put_away(&engine, 137)?;
        Ok(engine.containerd)
    })
}

fn log_file(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let log = engine.ctx.path("logs/of/c.log");
        let uri = format!("file://{}", log.display());
        let deeds = ["/probe", "print", "out", ",", "err", "error", ",", "exit", "0"];
        engine
            .run(&["--detach", "--log-uri", &uri], &[&[engine.id.as_str()], deeds.as_slice()].concat())?
            .success()?;
        put_away(&engine, 0)?;
        // After the deletion, which waits for the end of the output.
        let text = std::fs::read_to_string(&log).context("read the log")?;
        ensure!(text.contains("out\n") && text.contains("error\n"), "{text:?}");
        Ok(engine.containerd)
    })
}

fn containerd_killed(ctx: &Ctx) -> Result<()> {
    under(ctx, |mut engine| {
        engine.run(&["--detach"], &[&engine.id, "/probe", "wait", ",", "exit", "5"])?.success()?;
        engine.containerd = engine.containerd.restart_after_a_kill(engine.ctx)?;
        ensure!(engine.status()? == "RUNNING", "it is {}", engine.status()?);
        engine.exec("e1", &["/probe", "print", "alive"])?.success()?.out("alive\n")?;
        engine.task(&["kill", "--signal", "SIGTERM", &engine.id])?.success()?;
        put_away(&engine, 5)?;
        Ok(engine.containerd)
    })
}

fn shim_killed(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        engine.run(&["--detach"], &[&engine.id, "/probe", "stop"])?.success()?;
        kill(Pid::from_raw(shim_of(&engine)?.cast_signed()), Signal::SIGKILL)?;
        engine.until("NONE")?;
        process::until("the container's process has ended", PATIENCE, || {
            Ok(!crate::worker::described_descendants().iter().any(|line| line.contains("(/probe stop)")))
        })?;
        engine.containerd.ctr(&["container", "delete", &engine.id])?.success()?;
        let bundles = engine.ctx.path("containerd/state/io.containerd.runtime.v2.task/default");
        // containerd forgets the task first and removes the bundle then.
        process::until("the bundle is gone", PATIENCE, || Ok(std::fs::read_dir(&bundles)?.next().is_none()))?;
        Ok(engine.containerd)
    })
}
