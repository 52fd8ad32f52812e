//! containerd through its own shim (containerd-shim-runc-v2), which is told of the runtime by `ctr run --runc-binary`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::apart;
use super::engine::{Cli, PATIENCE, expect, folder};
use crate::case::{Case, Ctx, Session};
use crate::image;
use crate::needs::Need;
use crate::process::{self, Ended, Running};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Controller("cpu"),
    Need::Program("containerd"),
    Need::Program("containerd-shim-runc-v2"),
    Need::Program("ctr"),
];

const SCRIPT: &[Need] = &[
    Need::Root,
    Need::Controller("cpu"),
    Need::Program("containerd"),
    Need::Program("containerd-shim-runc-v2"),
    Need::Program("ctr"),
    Need::Program("script"),
];

pub(super) const CASES: &[Case] = &[
    Case { name: "engines/ctr-run", source: "ctr run --runc-binary", needs: NEEDS, run },
    Case { name: "engines/ctr-run-terminal", source: "ctr run --tty", needs: SCRIPT, run: terminal },
    Case { name: "engines/ctr-run-what-is-not-there", source: "ctr run", needs: NEEDS, run: not_there },
    Case { name: "engines/ctr-shape", source: "ctr run: its flags", needs: NEEDS, run: shape },
    Case { name: "engines/ctr-exec", source: "ctr task exec", needs: NEEDS, run: exec },
    Case { name: "engines/ctr-pause", source: "ctr task pause", needs: NEEDS, run: pause },
    Case { name: "engines/ctr-metrics-and-ps", source: "ctr task metrics, ps", needs: NEEDS, run: metrics },
    Case { name: "engines/ctr-kill", source: "ctr task kill", needs: NEEDS, run: kill },
];

const IMAGE: &str = "docker.io/library/probe:latest";

/// A daemon with the image in it.
#[derive(Debug)]
struct Containerd {
    home: PathBuf,
    ctr: PathBuf,
    runtime: String,
    daemon: Option<Running>,
}

fn containerd(ctx: &Ctx) -> Result<&Containerd> {
    ctx.session(Containerd::start)
}

impl Containerd {
    fn start(ctx: &Ctx) -> Result<Self> {
        let home = folder(ctx, "containerd")?;
        let archive = home.join("probe.tar");
        let config = json!({"Cmd": ["/probe", "print", "from the image"], "Env": ["PATH=/"]});
        image::of_probe(&archive, &ctx.binaries.join("probe"), &config, IMAGE)?;
        let text = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{0}/sock\"\n",
            home.display()
        );
        std::fs::write(home.join("config.toml"), text)?;
        let runtime = ctx.subject.executable(&home)?.to_string_lossy().into_owned();
        apart::go(ctx)?;
        let mut command = Command::new(process::find("containerd").context("find containerd")?);
        command.arg("--config").arg(home.join("config.toml")).current_dir(&home);
        let daemon = process::start(&mut command, Stdio::null())?;
        let ctr = process::find("ctr").context("find ctr")?;
        let mut this = Self { home, ctr, runtime, daemon: Some(daemon) };
        this.wait()?;
        this.call(&["image", "import", &archive.to_string_lossy()])?.success()?;
        Ok(this)
    }

    fn wait(&mut self) -> Result<()> {
        process::until("containerd answers", PATIENCE, || {
            if let Some(daemon) = &mut self.daemon
                && let Some(code) = daemon.ends_within(Duration::ZERO)?
            {
                bail!("containerd ended with {code}: {}", daemon.errors_so_far()?);
            }
            Ok(self.call(&["version"])?.code == 0)
        })
    }

    fn words<'a>(&'a self, flags: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        [&["run", "--runc-binary", &self.runtime], flags, &[IMAGE], words].concat()
    }

    fn run(&self, flags: &[&str], words: &[&str]) -> Result<Ended> {
        self.call(&self.words(flags, words))
    }

    fn status(&self, id: &str) -> Result<String> {
        let listed = self.text(&["task", "ls"])?;
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap_or_default();
        Ok(line.split_whitespace().nth(2).unwrap_or("NONE").to_owned())
    }

    /// A detached container, once its program says that it waits for a signal.
    fn waiting(&self, id: &str) -> Result<()> {
        let log = self.home.join(format!("{id}.log"));
        let uri = format!("file://{}", log.display());
        self.run(&["--detach", "--log-uri", &uri], &[id, "/probe", "wait"])?.success()?;
        process::until("it waits", PATIENCE, || {
            Ok(std::fs::read_to_string(&log).is_ok_and(|text| text == "waiting\n"))
        })
    }

    /// What a container wrote that ran to its end, from a log that the shim has written whole before it is deleted.
    fn logged(&self, flags: &[&str], id: &str, deeds: &[&str]) -> Result<String> {
        let log = self.home.join(format!("{id}.log"));
        let uri = format!("file://{}", log.display());
        let words = [&["--detach", "--log-uri", &uri], flags].concat();
        self.run(&words, &[&[id, "/probe"], deeds].concat())?.success()?;
        self.put_away(id, 0)?;
        let text = std::fs::read_to_string(&log)?;
        std::fs::remove_file(&log)?;
        Ok(text)
    }

    /// `ctr WORDS... /probe` with an output and an error, which stays until both have arrived and ends with 9 then: ctr may be
    /// done before it has taken a short-lived program's output.
    fn shows(&self, words: &[&str]) -> Result<()> {
        let deeds = ["/probe", "print", "out", ",", "err", "error", ",", "stdin", ",", "exit", "9"];
        let (input, hold) = std::io::pipe()?;
        let mut command = self.command(&[words, &deeds].concat())?;
        let mut running = process::start(&mut command, input.into())?;
        let arrives = process::until("its output arrives", PATIENCE, || {
            Ok(running.so_far()?.contains("out\n") && running.errors_so_far()?.contains("error\n"))
        });
        drop(hold);
        running.end(PATIENCE)?.code(9)?;
        arrives
    }

    /// Waits for the end of the task, whose code is `code`, and deletes everything of it.
    fn put_away(&self, id: &str, code: i32) -> Result<()> {
        process::until("the task has stopped", PATIENCE, || Ok(self.status(id)? == "STOPPED"))?;
        let ended = self.call(&["task", "delete", id])?.success()?;
        if code != 0 {
            ended.says(&format!("exit with non-zero exit code {code}"))?;
        }
        self.call(&["container", "delete", id])?.success()?;
        Ok(())
    }
}

impl Cli for Containerd {
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.ctr);
        command.arg("--address").arg(self.home.join("sock")).args(words).current_dir(&self.home);
        Ok(command)
    }
}

impl Session for Containerd {
    fn close(&mut self) -> Result<()> {
        let left = self.text(&["task", "ls", "--quiet"])?;
        for id in left.lines() {
            self.call(&["task", "delete", "--force", id])?;
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::SIGTERM)?;
            daemon.end(PATIENCE)?;
        }
        process::until("every shim has ended", PATIENCE, || {
            Ok(!crate::worker::described_descendants().iter().any(|line| line.contains("containerd-shim")))
        })?;
        ensure!(left.is_empty(), "tasks are left: {}", left.replace('\n', " "));
        Ok(())
    }
}

fn run(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("run"));
    containerd.shows(&containerd.words(&["--rm"], &[&id]))?;
    containerd.run(&["--rm"], &[&id])?.success()?;
    containerd.run(&["--rm"], &[&id, "/probe", "exit", "17"])?.code(17)?;
    Ok(())
}

fn terminal(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("tty"));
    let words = containerd.words(&["--rm", "--tty"], &[&id]);
    let seen = containerd.show_on_a_terminal(&words)?;
    expect(&seen, "/tty/console", true)
}

fn not_there(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("none"));
    containerd.run(&["--rm"], &[&id, "nothing"])?.failure()?.says("executable file not found in $PATH")?;
    ensure!(containerd.status(&id)? == "NONE", "a task is left");
    containerd.call(&["container", "ls", "--quiet"])?.success()?.out("")?;
    Ok(())
}

fn shape(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("shape"));
    let flags = ["--privileged", "--read-only", "--net-host", "--env", "A=b", "--cwd", "/etc"];
    let seen: Value = serde_json::from_str(&containerd.logged(&flags, &id, &["show"])?)?;
    expect(&seen, "/env/A", "b")?;
    expect(&seen, "/cwd", "/etc")?;
    expect(&seen, "/namespaces/net", super::engine::own_namespace("net")?)?;
    let root = seen["mounts"].as_array().and_then(|m| m.iter().find(|m| m["at"] == "/")).cloned();
    let root = root.context("find the root")?;
    ensure!(root["flags"].as_array().is_some_and(|f| f.contains(&"ro".into())), "the root: {root}");
    let out = containerd.logged(&["--seccomp"], &id, &["unshare", "user"])?;
    ensure!(out == "unshare user: EPERM\n", "{out:?}");
    Ok(())
}

fn exec(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("exec"));
    containerd.waiting(&id)?;
    containerd.shows(&["task", "exec", "--exec-id", "e1", &id])?;
    let ended = containerd.call(&["task", "exec", "--exec-id", "e2", &id, "/nothing"])?;
    ended.failure()?.says("no such file or directory")?;
    containerd.call(&["task", "kill", &id])?.success()?;
    containerd.put_away(&id, 0)
}

fn pause(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("pause"));
    containerd.waiting(&id)?;
    containerd.call(&["task", "pause", &id])?.success()?;
    ensure!(containerd.status(&id)? == "PAUSED", "it is {}", containerd.status(&id)?);
    containerd.call(&["task", "exec", "--exec-id", "e1", &id, "/probe", "exit", "0"])?.failure()?;
    containerd.call(&["task", "resume", &id])?.success()?;
    ensure!(containerd.status(&id)? == "RUNNING", "it is {}", containerd.status(&id)?);
    containerd.call(&["task", "kill", &id])?.success()?;
    containerd.put_away(&id, 0)
}

fn metrics(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("metrics"));
    containerd.waiting(&id)?;
    let metrics = containerd.text(&["task", "metrics", "--format", "json", &id])?;
    let seen: Value = serde_json::from_str(&metrics)?;
    expect(&seen, "/pids/current", 1)?;
    let processes = containerd.text(&["task", "ps", &id])?;
    ensure!(processes.lines().count() == 2, "{processes:?}");
    containerd.call(&["task", "kill", &id])?.success()?;
    containerd.put_away(&id, 0)
}

fn kill(ctx: &Ctx) -> Result<()> {
    let (containerd, id) = (containerd(ctx)?, ctx.id("kill"));
    containerd.run(&["--detach"], &[&id, "/probe", "spawn", "2", ",", "stop"])?.success()?;
    containerd.call(&["task", "kill", "--all", "--signal", "KILL", &id])?.success()?;
    containerd.put_away(&id, 137)
}
