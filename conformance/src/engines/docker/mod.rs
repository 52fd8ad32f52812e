//! Docker: a daemon with a root, a socket and a network namespace of its own, our runtime beside its default one.
//!
//! Invariant: the host's own daemon, bridges and packet filter are not touched.

pub(super) mod life;
pub(super) mod shape;

use std::cell::RefCell;
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

pub(crate) const NEEDS: &[Need] = &[
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
pub(crate) struct Docker {
    client: PathBuf,
    home: PathBuf,
    /// dockerd and its containerd, in the order in which they end; empty once they were told to.
    daemons: RefCell<Vec<Running>>,
}

/// The group's daemon.
pub(super) fn docker(ctx: &Ctx) -> Result<&Docker> {
    ctx.session(Docker::start)
}

impl Docker {
    fn start(ctx: &Ctx) -> Result<Self> {
        let runtime = ctx.subject.executable(&folder(ctx, "docker")?)?;
        let flags =
            [format!("--add-runtime=subject={}", runtime.display()), "--default-runtime=subject".into()];
        Self::launch(ctx, "{}", &flags)
    }

    /// A daemon whose containerd finds our shim on its PATH, with this configuration.
    pub(crate) fn beside_the_shim(ctx: &Ctx, configuration: &str) -> Result<Self> {
        Self::launch(ctx, configuration, &[])
    }

    fn launch(ctx: &Ctx, configuration: &str, flags: &[String]) -> Result<Self> {
        let tar = root_tar(ctx)?;
        let home = folder(ctx, "docker")?;
        std::fs::write(home.join("config.json"), configuration)?;
        apart::go(ctx)?;
        let client = process::find("docker").context("find docker")?;
        let this = Self { client, home, daemons: RefCell::default() };
        this.start_containerd(ctx)?;
        this.start_dockerd(flags)?;
        this.call(&["import", "--change", "CMD [\"/probe\",\"print\",\"from the image\"]", &tar, IMAGE])?
            .success()?;
        Ok(this)
    }

    /// Docker's own start of it has a bound of fifteen seconds, which a busy or emulated machine may exceed.
    fn start_containerd(&self, ctx: &Ctx) -> Result<()> {
        let home = self.home.display();
        let text = format!(
            "version = 2\nroot = \"{home}/c/root\"\nstate = \"{home}/c/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{home}/c.sock\"\n"
        );
        let configuration = self.home.join("containerd.toml");
        std::fs::write(&configuration, text)?;
        let mut command = Command::new(process::find("containerd").context("find containerd")?);
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg("--config").arg(&configuration).current_dir(&self.home);
        command.env("PATH", format!("{path}:{}", ctx.binaries.display()));
        self.daemons.borrow_mut().insert(0, process::start(&mut command, Stdio::null())?);
        let socket = self.home.join("c.sock");
        self.wait("containerd", |_| Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok()))
    }

    fn start_dockerd(&self, flags: &[String]) -> Result<()> {
        let mut command = Command::new(process::find("dockerd").context("find dockerd")?);
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "run"),
            ("--pidfile", "pid"),
            ("--config-file", "config.json"),
            ("--containerd", "c.sock"),
        ] {
            command.arg(flag).arg(self.home.join(name));
        }
        command
            .arg(format!("--host=unix://{}/sock", self.home.display()))
            .args(flags)
            .args(["--log-level=warn", "--bip=10.231.0.1/24"])
            .env("HOME", &self.home)
            .current_dir(&self.home);
        self.daemons.borrow_mut().insert(0, process::start(&mut command, Stdio::null())?);
        self.wait("dockerd", |this| Ok(process::run(&mut this.command(&["version"])?, PATIENCE)?.code == 0))
    }

    /// Waits until the daemon that was started last answers.
    fn wait(&self, name: &str, answers: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        process::until(&format!("{name} answers"), PATIENCE, || {
            if let Some(daemon) = self.daemons.borrow_mut().first_mut()
                && let Some(code) = daemon.ends_within(Duration::ZERO)?
            {
                bail!("{name} ended with {code}: {}", last_lines(&daemon.errors_so_far()?));
            }
            answers(self)
        })
    }

    /// Kills containerd without a word, and starts it again over what it left.
    pub(crate) fn restart_containerd(&self, ctx: &Ctx) -> Result<()> {
        let killed = self.daemons.borrow_mut().pop().context("find containerd")?;
        killed.signal(Signal::SIGKILL)?;
        killed.end(PATIENCE)?;
        self.start_containerd(ctx)?;
        // To its place: it ends after dockerd.
        self.daemons.borrow_mut().rotate_left(1);
        Ok(())
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

    /// Ends a container and takes it away.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        self.call(&["rm", "--force", id])?.success().map(drop)
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
        for daemon in self.daemons.take() {
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
