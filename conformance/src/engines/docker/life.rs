//! A container's life under Docker, and an image built by it.

use std::process::Stdio;

use anyhow::{Result, ensure};

use super::{NEEDS, docker};
use crate::case::{Case, Ctx};
use crate::engines::engine::{Cli, IMAGE, PATIENCE, expect, folder, free_port, get};
use crate::needs::Need;
use crate::process;

const SCRIPT: &[Need] = &[
    Need::Root,
    Need::Program("dockerd"),
    Need::Program("docker"),
    Need::Program("containerd"),
    Need::Program("iptables"),
    Need::Program("script"),
    Need::Managed("freezer"),
    Need::Managed("devices"),
];

pub(in crate::engines) const CASES: &[Case] = &[
    Case { name: "engines/docker-run", source: "docker run", needs: NEEDS, run },
    Case {
        name: "engines/docker-run-what-is-not-there",
        source: "docker run: exit status",
        needs: NEEDS,
        run: not_there,
    },
    Case { name: "engines/docker-run-terminal", source: "docker run --tty", needs: SCRIPT, run: terminal },
    Case { name: "engines/docker-exec", source: "docker exec", needs: NEEDS, run: exec },
    Case { name: "engines/docker-logs-and-wait", source: "docker logs", needs: NEEDS, run: logs },
    Case { name: "engines/docker-stop-and-restart", source: "docker stop, restart", needs: NEEDS, run: stop },
    Case { name: "engines/docker-kill", source: "docker kill", needs: NEEDS, run: kill },
    Case { name: "engines/docker-pause", source: "docker pause", needs: NEEDS, run: pause },
    Case { name: "engines/docker-top", source: "docker top", needs: NEEDS, run: top },
    Case { name: "engines/docker-healthcheck", source: "docker run --health-cmd", needs: NEEDS, run: health },
    Case { name: "engines/docker-publish", source: "docker run --publish", needs: NEEDS, run: publish },
    Case { name: "engines/docker-build", source: "docker build", needs: NEEDS, run: build },
];

fn run(ctx: &Ctx) -> Result<()> {
    let docker = docker(ctx)?;
    ensure!(
        docker.text(&["info", "--format", "{{.DefaultRuntime}}"])? == "subject",
        "another default runtime"
    );
    docker.run(&[], &[])?.success()?.out("from the image\n")?;
    docker
        .run(&[], &["/probe", "print", "out", ",", "err", "error", ",", "exit", "7"])?
        .code(7)?
        .out("out\n")?
        .says("error")?;
    let mut command = docker.command(&["run", "--rm", "--interactive", IMAGE, "/probe", "stdin"])?;
    process::run_with_input(&mut command, "typed", PATIENCE)?.success()?.out("stdin: \"typed\"\n")?;
    Ok(())
}

/// Docker tells the cause from the runtime's words, case and all.
fn not_there(ctx: &Ctx) -> Result<()> {
    let docker = docker(ctx)?;
    docker.run(&[], &["/nothing"])?.code(127)?;
    docker.run(&[], &["nothing"])?.code(127)?;
    docker.run(&[], &["/etc/passwd"])?.code(126)?;
    Ok(())
}

fn terminal(ctx: &Ctx) -> Result<()> {
    let docker = docker(ctx)?;
    let words = ["run", "--rm", "--network", "none", "-it", IMAGE];
    let seen = docker.show_on_a_terminal(&words)?;
    expect(&seen, "/tty/console", true)?;
    docker.on_a_terminal(&[&words[..], &["/probe", "exit", "7"]].concat())?.code(7)?;
    Ok(())
}

fn exec(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("exec"));
    docker.waiting(&id, &[])?;
    let exec =
        |flags: &[&str], words: &[&str]| docker.call(&[&["exec"], flags, &[id.as_str()], words].concat());
    exec(&[], &["/probe", "print", "out", ",", "err", "error", ",", "exit", "9"])?
        .code(9)?
        .out("out\n")?
        .says("error")?;
    // The code differs between clients: 126 or 127.
    let ended = exec(&[], &["/nothing"])?.failure()?;
    ensure!(
        format!("{}{}", ended.out, ended.err).contains("stat /nothing: no such file or directory"),
        "{ended:?}"
    );
    exec(&[], &["/etc/passwd"])?.code(126)?;
    let flags = ["--env", "A=b", "--workdir", "/etc", "--user", "user"];
    let seen: serde_json::Value = serde_json::from_str(&exec(&flags, &["/probe", "show"])?.success()?.out)?;
    expect(&seen, "/env/A", "b")?;
    expect(&seen, "/cwd", "/etc")?;
    expect(&seen, "/uid/0", 1000)?;
    exec(&["--detach"], &["/probe", "write", "/by-exec", "text"])?.success()?;
    docker.until(&["exec", &id, "/probe", "cat", "/by-exec"], "text")?;
    docker.remove(&id)
}

fn logs(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("logs"));
    let words = [
        "run", "--detach", "--name", &id, IMAGE, "/probe", "print", "out", ",", "err", "error", ",", "flood",
        "20000",
    ];
    docker.call(&words)?.success()?;
    docker.call(&["wait", &id])?.success()?.out("0\n")?;
    let ended = docker.call(&["logs", &id])?.success()?;
    ensure!(
        ended.out.starts_with("out\n") && ended.out.len() == 20004,
        "{} bytes of output",
        ended.out.len()
    );
    ended.says("error")?;
    docker.call(&["rm", &id])?.success()?;
    Ok(())
}

fn stop(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("stop"));
    docker.waiting(&id, &[])?;
    docker.call(&["restart", "--time", "60", &id])?.success()?;
    docker.until(&["logs", &id], "waiting\ngot SIGTERM\nwaiting")?;
    docker.call(&["stop", "--time", "60", &id])?.success()?;
    ensure!(
        docker.text(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &id])? == "exited 0"
    );
    let mut attached = process::start(&mut docker.command(&["start", "--attach", &id])?, Stdio::null())?;
    process::until("the attached output arrives", PATIENCE, || Ok(attached.so_far()? == "waiting\n"))?;
    docker.call(&["stop", "--time", "60", &id])?.success()?;
    attached.end(PATIENCE)?.success()?.out("waiting\ngot SIGTERM\n")?;
    docker.call(&["rm", &id])?.success()?;
    Ok(())
}

fn kill(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("kill"));
    docker.waiting(&id, &[])?;
    docker.call(&["kill", "--signal", "USR1", &id])?.success()?;
    docker.call(&["wait", &id])?.success()?.out("0\n")?;
    docker.call(&["start", &id])?.success()?;
    docker.call(&["kill", &id])?.success()?;
    docker.call(&["wait", &id])?.success()?.out("137\n")?;
    docker.call(&["rm", &id])?.success()?;
    Ok(())
}

fn pause(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("pause"));
    docker.waiting(&id, &[])?;
    docker.call(&["pause", &id])?.success()?;
    ensure!(docker.text(&["inspect", "--format", "{{.State.Status}}", &id])? == "paused");
    docker.call(&["unpause", &id])?.success()?;
    docker.call(&["exec", &id, "/probe", "print", "x"])?.success()?.out("x\n")?;
    docker.remove(&id)
}

fn top(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("top"));
    docker.waiting(&id, &[])?;
    let text = docker.text(&["top", &id, "-o", "pid,args"])?;
    ensure!(text.lines().count() == 2 && text.ends_with("/probe wait"), "{text:?}");
    docker.remove(&id)
}

fn health(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("health"));
    let dir = folder(ctx, "health")?;
    std::fs::copy(ctx.binaries.join("probe"), dir.join("probe"))?;
    let dockerfile = format!(
        "FROM {IMAGE}\nHEALTHCHECK --interval=1s --retries=1 CMD [\"/probe\", \"exit\", \"0\"]\nCMD [\"/probe\", \"wait\"]\n"
    );
    std::fs::write(dir.join("Dockerfile"), dockerfile)?;
    docker.call(&["build", "--tag", "healthy", &dir.to_string_lossy()])?.success()?;
    docker.call(&["run", "--detach", "--network", "none", "--name", &id, "healthy"])?.success()?;
    docker.until(&["inspect", "--format", "{{.State.Health.Status}}", &id], "healthy")?;
    docker.remove(&id)
}

fn publish(ctx: &Ctx) -> Result<()> {
    let (docker, id, port) = (docker(ctx)?, ctx.id("published"), free_port()?);
    let publish = format!("127.0.0.1:{port}:80");
    let words = [
        "run",
        "--detach",
        "--name",
        &id,
        "--publish",
        &publish,
        IMAGE,
        "/probe",
        "serve",
        "0.0.0.0:80",
        "served",
    ];
    docker.call(&words)?.success()?;
    let body = get(ctx, &format!("127.0.0.1:{port}"));
    docker.remove(&id)?;
    let body = body?;
    ensure!(body == "served", "{body:?}");
    Ok(())
}

fn build(ctx: &Ctx) -> Result<()> {
    let docker = docker(ctx)?;
    let dir = folder(ctx, "context")?;
    std::fs::copy(ctx.binaries.join("probe"), dir.join("copied"))?;
    let dockerfile = format!(
        "FROM {IMAGE}\nCOPY copied /copied\nRUN [\"/copied\", \"write\", \"/made\", \"by RUN\"]\nCMD [\"/copied\", \"cat\", \"/made\"]\n"
    );
    std::fs::write(dir.join("Dockerfile"), dockerfile)?;
    docker.call(&["build", "--tag", "built", &dir.to_string_lossy()])?.success()?;
    docker.call(&["run", "--rm", "--network", "none", "built"])?.success()?.out("by RUN")?;
    std::fs::write(dir.join("Dockerfile"), format!("FROM {IMAGE}\nRUN [\"/probe\", \"exit\", \"5\"]\n"))?;
    docker
        .call(&["build", "--force-rm", &dir.to_string_lossy()])?
        .failure()?
        .says("returned a non-zero code: 5")?;
    Ok(())
}
