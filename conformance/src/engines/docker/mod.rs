//! Docker: a daemon with a root, a socket and a network namespace of its own, our runtime beside its default one.
//!
//! Invariant: the host's own daemon, bridges and packet filter are not touched.

pub(super) mod life;
pub(super) mod shape;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::apart;
use super::engine::{Cli, IMAGE, PATIENCE, folder, root_tar};
use crate::case::{Ctx, Session};
use crate::needs::Need;
use crate::process::{self, Ended, Running};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("dockerd"),
    Need::Program("docker"),
    Need::Program("containerd"),
    Need::Program("iptables"),
    Need::Managed("freezer"),
    Need::Managed("devices"),
];

/// A daemon with the image in it.
#[derive(Debug)]
pub(super) struct Docker {
    client: PathBuf,
    home: PathBuf,
    /// `None` once it was told to end.
    daemon: Option<Running>,
}

/// The group's daemon.
pub(super) fn docker(ctx: &Ctx) -> Result<&Docker> {
    ctx.session(Docker::start)
}

impl Docker {
    fn start(ctx: &Ctx) -> Result<Self> {
        let tar = root_tar(ctx)?;
        let home = folder(ctx, "docker")?;
        std::fs::write(home.join("config.json"), "{}")?;
        let runtime = ctx.subject.executable(&home)?;
        apart::go(ctx)?;
        let mut command = Command::new(process::find("dockerd").context("find dockerd")?);
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "run"),
            ("--pidfile", "pid"),
            ("--config-file", "config.json"),
        ] {
            command.arg(flag).arg(home.join(name));
        }
        command
            .arg(format!("--host=unix://{}/sock", home.display()))
            .arg(format!("--add-runtime=subject={}", runtime.display()))
            .args(["--default-runtime=subject", "--log-level=warn", "--bip=10.231.0.1/24"])
            .env("HOME", &home)
            .current_dir(&home);
        let daemon = process::start(&mut command, Stdio::null())?;
        let client = process::find("docker").context("find docker")?;
        let mut this = Self { client, home, daemon: Some(daemon) };
        this.wait()?;
        this.call(&["import", "--change", "CMD [\"/probe\",\"print\",\"from the image\"]", &tar, IMAGE])?
            .success()?;
        Ok(this)
    }

    fn wait(&mut self) -> Result<()> {
        process::until("the Docker daemon answers", PATIENCE, || {
            if let Some(daemon) = &mut self.daemon
                && let Some(code) = daemon.ends_within(Duration::ZERO)?
            {
                bail!("dockerd ended with {code}: {}", last_lines(&daemon.errors_so_far()?));
            }
            let mut command = self.command(&["version"])?;
            Ok(process::run(&mut command, PATIENCE)?.code == 0)
        })
    }

    /// Runs the image in the foreground, gone afterwards.
    pub(super) fn run(&self, flags: &[&str], words: &[&str]) -> Result<Ended> {
        self.call(&[&["run", "--rm", "--network", "none"], flags, &[IMAGE], words].concat())
    }

    /// What the probe sees in such a container.
    pub(super) fn seen(&self, flags: &[&str]) -> Result<serde_json::Value> {
        self.show(&[&["run", "--rm", "--network", "none"], flags].concat())
    }

    /// A detached container, once its program says that it waits for a signal.
    pub(super) fn waiting(&self, id: &str, flags: &[&str]) -> Result<()> {
        let fixed = ["run", "--detach", "--network", "none", "--name", id];
        self.call(&[&fixed, flags, &[IMAGE, "/probe", "wait"]].concat())?.success()?;
        self.until(&["logs", id], "waiting")
    }
}

impl Cli for Docker {
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.client);
        command
            .arg(format!("--host=unix://{}/sock", self.home.display()))
            .args(words)
            .env("HOME", &self.home)
            .env("DOCKER_BUILDKIT", "0")
            .current_dir(&self.home);
        Ok(command)
    }
}

impl Session for Docker {
    fn close(&mut self) -> Result<()> {
        let left = self.text(&["ps", "--all", "--format", "{{.Names}}"])?;
        for id in left.lines() {
            self.call(&["rm", "--force", id])?;
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::SIGTERM)?;
            daemon.end(PATIENCE)?;
        }
        // The daemon leaves the name of its own network namespace.
        let own = self.home.join("run/netns/default");
        let _gone = nix::mount::umount2(&own, nix::mount::MntFlags::MNT_DETACH);
        process::until("every shim has ended", PATIENCE, || {
            Ok(!crate::worker::described_descendants().iter().any(|line| line.contains("containerd")))
        })?;
        ensure!(left.is_empty(), "containers are left: {}", left.replace('\n', " "));
        Ok(())
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join(" | ")
}
