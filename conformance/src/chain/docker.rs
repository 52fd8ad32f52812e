//! Docker with our shim in the place of containerd's own: by nothing but its name, and as the shim's README configures it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::blocks;
use super::engine::shims;
use crate::case::{Case, Ctx, not_run};
use crate::engines::docker::{Docker, NEEDS};
use crate::engines::engine::{Cli, IMAGE, MEMORY_FILES, PATIENCE, expect, here};
use crate::needs::Need;
use crate::process::{self, Ended};

const MEMORY: &[Need] = &[
    Need::Root,
    Need::Program("dockerd"),
    Need::Program("docker"),
    Need::Program("containerd"),
    Need::Program("iptables"),
    Need::Program("script"),
    Need::Managed("freezer"),
    Need::Managed("devices"),
    Need::Managed("memory"),
];

pub(crate) const CASES: &[Case] = &[
    Case { name: "chain/docker-shim", source: "shim/README.md: Docker", needs: MEMORY, run: by_name },
    Case {
        name: "chain/docker-shim-configured",
        source: "shim/README.md: Docker, daemon.json",
        needs: NEEDS,
        run: configured,
    },
    Case {
        name: "chain/docker-shim-containerd-killed",
        source: "issue 6: re-adopted, under Docker",
        needs: NEEDS,
        run: containerd_killed,
    },
];

/// What the README's two blocks for Docker name.
const PLACE: &str = "/etc/containerd/coracle.toml";
const BINARY: &str = "BinaryName = \"/usr/local/bin/runtime\"";

/// A daemon and the name of the runtime that its containers ask for.
struct Engine<'a> {
    docker: &'a Docker,
    runtime: &'a str,
    id: String,
}

impl Engine<'_> {
    fn run(&self, flags: &[&str], words: &[&str]) -> Result<Ended> {
        let fixed = ["run", "--rm", "--network", "none", "--runtime", self.runtime];
        self.docker.call(&[&fixed, flags, &[IMAGE], words].concat())
    }

    /// The container, once its program says that it waits for a signal.
    fn waiting(&self, flags: &[&str]) -> Result<()> {
        let fixed = ["run", "--detach", "--network", "none", "--name", &self.id, "--runtime", self.runtime];
        self.docker.call(&[&fixed, flags, &[IMAGE, "/probe", "wait"]].concat())?.success()?;
        self.docker.until(&["logs", &self.id], "waiting")?;
        let theirs = crate::worker::described_descendants().iter().any(|p| p.contains("shim-runc"));
        ensure!(shims() == 1 && !theirs, "the shims: {:?}", crate::worker::described_descendants());
        Ok(())
    }

    fn on(&self, verb: &str, words: &[&str]) -> Result<Ended> {
        self.docker.call(&[&[verb, &self.id], words].concat())?.success()
    }

    fn exec(&self, words: &[&str]) -> Result<Ended> {
        self.docker.call(&[&["exec", &self.id, "/probe"], words].concat())
    }

    fn state(&self, field: &str) -> Result<String> {
        self.docker.text(&["inspect", "--format", &format!("{{{{.State.{field}}}}}"), &self.id])
    }
}

/// Docker before 23 knows no shim but containerd's own.
fn docker_of_today() -> Result<()> {
    let program = process::find("dockerd").context("find dockerd")?;
    let version = process::run(Command::new(program).arg("--version"), PATIENCE)?.success()?.out;
    let major = version.split([' ', '.']).find_map(|word| word.parse::<u32>().ok());
    if major.context("read Docker's version")? < 23 {
        return Err(not_run("Docker before 23 knows no shim but containerd's own"));
    }
    Ok(())
}

fn by_name(ctx: &Ctx) -> Result<()> {
    docker_of_today()?;
    let docker = ctx.session(|ctx| Docker::beside_the_shim(ctx, "{}"))?;
    let engine = Engine { docker, runtime: "io.containerd.coracle.v2", id: ctx.id("c") };
    foreground(&engine)?;
    engine.waiting(&["--memory", "64m", "--memory-swap", "64m"])?;
    in_a_scope(&engine)?;
    while_it_runs(ctx, &engine)?;
    ends(&engine)?;
    engine.run(&["--detach", "--name", &engine.id], &["/probe", "stop"])?.success()?;
    engine.on("rm", &["--force"])?;
    memory(&engine)
}

/// Docker's driver on a systemd host is systemd, of which it tells a shim by the shape of a path alone.
fn in_a_scope(engine: &Engine) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    let id = engine.docker.text(&["inspect", "--format", "{{.Id}}", &engine.id])?;
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", engine.state("Pid")?))?;
    ensure!(own.trim_end().ends_with(&format!("::/system.slice/docker-{id}.scope")), "it is in {own}");
    Ok(())
}

/// Output, exit code, input, a terminal, and a program that is not there.
fn foreground(engine: &Engine) -> Result<()> {
    engine
        .run(&[], &["/probe", "print", "out", ",", "err", "error", ",", "exit", "7"])?
        .code(7)?
        .out("out\n")?
        .says("error")?;
    let words = ["run", "--rm", "--interactive", "--network", "none", "--runtime", engine.runtime];
    let mut command = engine.docker.command(&[&words[..], &[IMAGE, "/probe", "stdin"]].concat())?;
    process::run_with_input(&mut command, "typed", PATIENCE)?.success()?.out("stdin: \"typed\"\n")?;
    let words = ["run", "--rm", "--tty", "--interactive", "--network", "none", "--runtime", engine.runtime];
    let seen = engine.docker.show_on_a_terminal(&[&words[..], &[IMAGE]].concat())?;
    expect(&seen, "/tty/console", true)?;
    engine.run(&[], &["/nothing"])?.code(127)?;
    engine.run(&[], &["/etc/passwd"])?.code(126)?;
    Ok(())
}

fn while_it_runs(ctx: &Ctx, engine: &Engine) -> Result<()> {
    engine.exec(&["print", "out", ",", "err", "error", ",", "exit", "9"])?.code(9)?.out("out\n")?;
    let top = engine.on("top", &["-o", "pid,args"])?.out;
    ensure!(top.lines().count() == 2 && top.trim_end().ends_with("/probe wait"), "{top:?}");
    engine.on("pause", &[])?;
    ensure!(engine.state("Status")? == "paused");
    engine.on("unpause", &[])?;
    engine.docker.call(&["update", "--memory", "128m", "--memory-swap", "128m", &engine.id])?.success()?;
    engine.exec(&["cat", here(ctx, MEMORY_FILES)])?.success()?.out("134217728\n")?;
    let stats = ["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &engine.id];
    let stats = engine.docker.text(&stats)?;
    ensure!(stats.starts_with("1 ") && stats.ends_with("/ 128MiB"), "{stats:?}");
    Ok(())
}

/// A restart and three ends: by its own will, by a signal, by force.
fn ends(engine: &Engine) -> Result<()> {
    engine.docker.call(&["restart", "--time", "60", &engine.id])?.success()?;
    engine.docker.until(&["logs", &engine.id], "waiting\ngot SIGTERM\nwaiting")?;
    engine.docker.call(&["stop", "--time", "60", &engine.id])?.success()?;
    ensure!(engine.state("Status")? == "exited" && engine.state("ExitCode")? == "0");
    engine.on("start", &[])?;
    engine.on("kill", &[])?;
    engine.on("wait", &[])?.out("137\n")?;
    engine.on("rm", &[])?;
    Ok(())
}

/// Docker knows what killed a program.
fn memory(engine: &Engine) -> Result<()> {
    let fixed = ["run", "--network", "none", "--name", &engine.id, "--runtime", engine.runtime];
    let limit = ["--memory", "32m", "--memory-swap", "32m", IMAGE, "/probe", "eat", "256"];
    engine.docker.call(&[&fixed[..], &limit].concat())?.code(137)?;
    ensure!(engine.state("OOMKilled")? == "true", "Docker was not told");
    engine.on("rm", &[])?;
    Ok(())
}

/// The README's block, except that the runtime is one that leaves a mark.
fn configured(ctx: &Ctx) -> Result<()> {
    docker_of_today()?;
    let (named, mark) = blocks::marking(ctx)?;
    let (daemon, options) = (blocks::of_the_shim(ctx, "{")?, blocks::of_the_shim(ctx, BINARY)?);
    ensure!(daemon.contains(PLACE), "{daemon}");
    let options = options.replace("/usr/local/bin/runtime", &named);
    let place = ctx.path("coracle.toml");
    std::fs::write(&place, options)?;
    let daemon = daemon.replace(PLACE, &place.display().to_string());
    let docker = ctx.session(|ctx| Docker::beside_the_shim(ctx, &daemon))?;
    let engine = Engine { docker, runtime: "coracle", id: ctx.id("c") };
    engine.run(&[], &["/probe", "print", "out", ",", "exit", "7"])?.code(7)?.out("out\n")?;
    ensure!(mark.exists(), "another runtime than the configured one was called");
    engine.waiting(&[])?;
    engine.exec(&["print", "inside"])?.success()?.out("inside\n")?;
    engine.on("rm", &["--force"])?;
    Ok(())
}

/// The next containerd finds the shim, and Docker its container.
fn containerd_killed(ctx: &Ctx) -> Result<()> {
    docker_of_today()?;
    let docker = ctx.session(|ctx| Docker::beside_the_shim(ctx, "{}"))?;
    let engine = Engine { docker, runtime: "io.containerd.coracle.v2", id: ctx.id("c") };
    engine.waiting(&[])?;
    docker.restart_containerd(ctx)?;
    process::until("Docker reaches the container again", PATIENCE, || {
        let ended = engine.exec(&["print", "alive"])?;
        Ok(ended.code == 0 && ended.out == "alive\n")
    })?;
    ensure!(engine.state("Status")? == "running", "it is {}", engine.state("Status")?);
    engine.docker.call(&["stop", "--time", "60", &engine.id])?.success()?;
    ensure!(engine.state("ExitCode")? == "0", "it ended with {}", engine.state("ExitCode")?);
    engine.on("rm", &[])?;
    Ok(())
}
