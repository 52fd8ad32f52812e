//! A container's life under podman: from run to removal, and everything that can be done to it meanwhile.

use anyhow::{Result, ensure};

use super::{CONMON, PODMAN, podman};
use crate::case::{Case, Ctx};
use crate::engines::engine::{Cli, IMAGE, MEMORY_FILES, PATIENCE, expect, here};
use crate::needs::Need;
use crate::process;

const NEEDS: &[Need] = &[PODMAN, CONMON, Need::UserIds];
const SCRIPT: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::Program("script")];
const FREEZER: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::Managed("freezer")];
const CHECKPOINT: &[Need] = &[PODMAN, CONMON, Need::Root, Need::Criu];
const MEMORY: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::Managed("memory")];

pub(in crate::engines) const CASES: &[Case] = &[
    Case { name: "engines/podman-run", source: "podman-run(1)", needs: NEEDS, run },
    Case {
        name: "engines/podman-run-what-is-not-there",
        source: "podman-run(1): exit status",
        needs: NEEDS,
        run: not_there,
    },
    Case {
        name: "engines/podman-run-terminal",
        source: "podman-run(1): --tty",
        needs: SCRIPT,
        run: terminal,
    },
    Case {
        name: "engines/podman-runtime-by-path",
        source: "podman(1): --runtime",
        needs: NEEDS,
        run: by_path,
    },
    Case { name: "engines/podman-exec", source: "podman-exec(1)", needs: NEEDS, run: exec },
    Case {
        name: "engines/podman-exec-terminal",
        source: "podman-exec(1): --tty",
        needs: SCRIPT,
        run: exec_terminal,
    },
    Case { name: "engines/podman-logs", source: "podman-logs(1)", needs: NEEDS, run: logs },
    Case { name: "engines/podman-attach", source: "podman-attach(1)", needs: NEEDS, run: attach },
    Case {
        name: "engines/podman-create-start",
        source: "podman-start(1): --attach",
        needs: NEEDS,
        run: create_start,
    },
    Case { name: "engines/podman-stop", source: "podman-stop(1)", needs: NEEDS, run: stop },
    Case { name: "engines/podman-kill", source: "podman-kill(1)", needs: NEEDS, run: kill },
    Case { name: "engines/podman-restart", source: "podman-restart(1)", needs: NEEDS, run: restart },
    Case { name: "engines/podman-rm-force", source: "podman-rm(1)", needs: NEEDS, run: rm_force },
    Case { name: "engines/podman-pause", source: "podman-pause(1)", needs: FREEZER, run: pause },
    Case {
        name: "engines/podman-checkpoint",
        source: "podman-container-checkpoint(1), podman-container-restore(1)",
        needs: CHECKPOINT,
        run: checkpoint,
    },
    Case { name: "engines/podman-top", source: "podman-top(1)", needs: NEEDS, run: top },
    Case { name: "engines/podman-stats", source: "podman-stats(1)", needs: MEMORY, run: stats },
    Case { name: "engines/podman-update", source: "podman-update(1)", needs: MEMORY, run: update },
    Case {
        name: "engines/podman-healthcheck",
        source: "podman-healthcheck-run(1)",
        needs: NEEDS,
        run: health,
    },
];

fn run(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    podman.run(&[], &[])?.success()?.out("from the image\n")?;
    let words = ["run", "--rm", "--interactive", "--network", "none", IMAGE];
    let deeds = ["/probe", "stdin", ",", "print", "out", ",", "err", "error", ",", "exit", "7"];
    let mut command = podman.command(&[&words[..], &deeds].concat())?;
    let ended = process::run_with_input(&mut command, "typed", PATIENCE)?;
    ended.code(7)?.out("stdin: \"typed\"\nout\n")?.says("error")?;
    Ok(())
}

/// podman tells the cause from the runtime's words.
fn not_there(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    podman.run(&[], &["/nothing"])?.code(127)?;
    podman.run(&[], &["nothing"])?.code(127)?;
    podman.run(&[], &["/etc"])?.code(126)?;
    podman.run(&[], &["/etc/passwd"])?.code(126)?;
    Ok(())
}

fn terminal(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    let words = ["run", "--rm", "--network", "none", "-it", IMAGE];
    let seen = podman.show_on_a_terminal(&words)?;
    expect(&seen, "/tty/console", true)?;
    expect(&seen, "/tty/stdin", "/dev/pts/0")?;
    podman.on_a_terminal(&[&words[..], &["/probe", "exit", "7"]].concat())?.code(7)?;
    Ok(())
}

/// Without an entry in containers.conf: podman knows only the path.
fn by_path(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    let path = ctx.subject.executable(&ctx.dir)?;
    let path = path.to_string_lossy();
    let words = ["--runtime", &path, "run", "--rm", "--network", "none", IMAGE];
    podman.call(&[&words[..], &["/probe", "exit", "7"]].concat())?.code(7)?;
    podman.call(&[&words[..], &["/nothing"]].concat())?.code(127)?;
    Ok(())
}

fn exec(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("exec"));
    podman.waiting(&id, &[])?;
    let ended = podman.inside(&id, &["print", "out", ",", "err", "error", ",", "exit", "9"])?;
    ended.code(9)?.out("out\n")?.says("error")?;
    podman.call(&["exec", &id, "/nothing"])?.code(127)?;
    podman.call(&["exec", &id, "/etc"])?.code(126)?;
    let words = ["exec", "--interactive", "--env", "A=b", "--workdir", "/etc", "--user", "user", &id];
    let shows = ["/probe", "stdin", ",", "show"];
    let text = podman.text(&[&words[..], &shows].concat())?;
    let seen: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    expect(&seen, "/env/A", "b")?;
    expect(&seen, "/cwd", "/etc")?;
    expect(&seen, "/uid/0", 1000)?;
    podman.call(&["exec", "--detach", &id, "/probe", "write", "/by-exec", "text"])?.success()?;
    process::until("the detached one has written", PATIENCE, || {
        Ok(podman.inside(&id, &["cat", "/by-exec"])?.out == "text")
    })?;
    podman.remove(&id)
}

fn exec_terminal(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("execit"));
    podman.waiting(&id, &[])?;
    let seen = podman.show_on_a_terminal(&["exec", "-it", &id])?;
    ensure!(seen["tty"].is_object(), "no terminal: {}", seen["tty"]);
    podman.on_a_terminal(&["exec", "-it", &id, "/probe", "exit", "9"])?.code(9)?;
    podman.remove(&id)
}

fn logs(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("logs"));
    let words = ["run", "--detach", "--network", "none", "--name", &id, IMAGE];
    podman
        .call(
            &[&words[..], &["/probe", "print", "out", ",", "err", "error", ",", "flood", "20000"]].concat(),
        )?
        .success()?;
    podman.call(&["wait", &id])?.success()?.out("0\n")?;
    let ended = podman.call(&["logs", &id])?.success()?;
    ensure!(
        ended.out.starts_with("out\n") && ended.out.len() == 20004,
        "{} bytes of output",
        ended.out.len()
    );
    ended.says("error")?;
    podman.call(&["rm", &id])?.success()?;
    Ok(())
}

fn attach(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("attach"));
    podman
        .call(&["create", "--interactive", "--network", "none", "--name", &id, IMAGE, "/probe", "stdin"])?
        .success()?;
    podman.call(&["start", &id])?.success()?;
    let mut command = podman.command(&["attach", &id])?;
    let ended = process::run_with_input(&mut command, "typed", PATIENCE)?.success()?;
    ensure!(ended.out.trim_end() == "stdin: \"typed\"", "{ended:?}");
    podman.call(&["rm", &id])?.success()?;
    Ok(())
}

fn create_start(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("start"));
    let words = ["create", "--interactive", "--network", "none", "--name", &id, IMAGE];
    podman.call(&[&words[..], &["/probe", "stdin", ",", "exit", "3"]].concat())?.success()?;
    // A created container that was initialised lives in the runtime until it is started.
    podman.call(&["init", &id])?.success()?;
    for typed in ["once", "twice"] {
        let mut command = podman.command(&["start", "--attach", "--interactive", &id])?;
        let ended = process::run_with_input(&mut command, typed, PATIENCE)?;
        ended.code(3)?.out(&format!("stdin: {typed:?}\n"))?;
    }
    podman.call(&["rm", &id])?.success()?;
    Ok(())
}

fn stop(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("stop"));
    podman.waiting(&id, &[])?;
    podman.call(&["stop", "--time", "60", &id])?.success()?;
    let logs = podman.text(&["logs", &id])?;
    ensure!(logs == "waiting\ngot SIGTERM", "{logs:?}");
    ensure!(podman.text(&["inspect", "--format", "{{.State.ExitCode}}", &id])? == "0");
    podman.call(&["rm", &id])?.success()?;
    // One that takes no SIGTERM is killed when the time is over.
    podman
        .call(&["run", "--detach", "--network", "none", "--name", &id, IMAGE, "/probe", "stop"])?
        .success()?;
    podman.call(&["stop", "--time", "1", &id])?.success()?;
    ensure!(podman.text(&["inspect", "--format", "{{.State.ExitCode}}", &id])? == "137");
    podman.call(&["rm", &id])?.success()?;
    Ok(())
}

fn kill(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("kill"));
    podman.waiting(&id, &[])?;
    podman.call(&["kill", "--signal", "USR1", &id])?.success()?;
    podman.call(&["wait", &id])?.success()?.out("0\n")?;
    ensure!(podman.text(&["logs", &id])? == "waiting\ngot SIGUSR1");
    podman.call(&["kill", &id])?.failure()?;
    podman.call(&["start", &id])?.success()?;
    podman.call(&["kill", &id])?.success()?;
    podman.call(&["wait", &id])?.success()?.out("137\n")?;
    podman.call(&["rm", &id])?.success()?;
    Ok(())
}

fn restart(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("restart"));
    podman.waiting(&id, &[])?;
    podman.call(&["restart", "--time", "60", &id])?.success()?;
    podman.until(&["logs", &id], "waiting\ngot SIGTERM\nwaiting")?;
    podman.inside(&id, &["print", "again"])?.success()?.out("again\n")?;
    podman.call(&["rm", "--force", "--time", "60", &id])?.success()?;
    Ok(())
}

/// With processes of exec inside, and more than one in the container.
fn rm_force(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("rm"));
    podman
        .call(&[
            "run",
            "--detach",
            "--network",
            "none",
            "--name",
            &id,
            IMAGE,
            "/probe",
            "spawn",
            "3",
            ",",
            "stop",
        ])?
        .success()?;
    podman.call(&["exec", "--detach", &id, "/probe", "stop"])?.success()?;
    podman.remove(&id)?;
    podman.call(&["container", "exists", &id])?.code(1)?;
    Ok(())
}

fn pause(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("pause"));
    podman.waiting(&id, &[])?;
    podman.call(&["pause", &id])?.success()?;
    ensure!(podman.text(&["inspect", "--format", "{{.State.Status}}", &id])? == "paused");
    podman.call(&["exec", &id, "/probe", "print", "x"])?.failure()?;
    podman.call(&["unpause", &id])?.success()?;
    podman.inside(&id, &["print", "x"])?.success()?.out("x\n")?;
    podman.remove(&id)
}

fn checkpoint(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("checkpoint"));
    podman.waiting(&id, &[])?;
    podman.call(&["container", "checkpoint", &id])?.success()?;
    ensure!(podman.text(&["inspect", "--format", "{{.State.Checkpointed}}", &id])? == "true");
    podman.call(&["container", "restore", &id])?.success()?;
    podman.inside(&id, &["print", "x"])?.success()?.out("x\n")?;
    let archive = ctx.path("checkpoint.tar.gz").display().to_string();
    podman.call(&["container", "checkpoint", "--leave-running", "--export", &archive, &id])?.success()?;
    podman.inside(&id, &["print", "y"])?.success()?.out("y\n")?;
    podman.remove(&id)?;
    podman.call(&["container", "restore", "--import", &archive])?.success()?;
    podman.inside(&id, &["print", "z"])?.success()?.out("z\n")?;
    podman.remove(&id)
}

fn top(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("top"));
    podman.waiting(&id, &[])?;
    let text = podman.text(&["top", &id, "pid", "args"])?;
    let words: Vec<&str> = text.split_whitespace().collect();
    ensure!(words == ["PID", "COMMAND", "1", "/probe", "wait"], "{text:?}");
    podman.remove(&id)
}

fn stats(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("stats"));
    podman.waiting(&id, &["--memory", "64m"])?;
    let text = podman.text(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &id])?;
    ensure!(text.starts_with("1 ") && text.ends_with(" / 67.11MB"), "{text:?}");
    podman.remove(&id)
}

fn update(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("update"));
    if podman.version < (4, 3) {
        return Err(crate::case::not_run("podman has update since 4.3"));
    }
    podman.waiting(&id, &["--memory", "64m"])?;
    let limit = || {
        anyhow::Ok(podman.inside(&id, &["cat", here(ctx, MEMORY_FILES)])?.success()?.out.trim().to_owned())
    };
    ensure!(limit()? == "67108864", "at first {}", limit()?);
    podman.call(&["update", "--memory", "128m", &id])?.success()?;
    ensure!(limit()? == "134217728", "updated {}", limit()?);
    podman.remove(&id)
}

fn health(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("health"));
    let check = ["--health-interval", "disable", "--health-retries", "1", "--health-cmd"];
    podman.waiting(&id, &[&check[..], &["[\"/probe\",\"exit\",\"0\"]"]].concat())?;
    podman.call(&["healthcheck", "run", &id])?.success()?;
    podman.remove(&id)?;
    podman.waiting(&id, &[&check[..], &["[\"/probe\",\"exit\",\"1\"]"]].concat())?;
    podman.call(&["healthcheck", "run", &id])?.code(1)?;
    let status = podman.text(&["inspect", "--format", "{{.State.Health.Status}}", &id])?;
    ensure!(status == "unhealthy", "{status}");
    podman.remove(&id)
}
