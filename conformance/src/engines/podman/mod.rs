//! Podman: no daemon, so the session is a store, a configuration and the namespaces around it.
//!
//! Invariant: the host's own store, networks and locks are never used, and neither is its configuration.

pub(super) mod life;
pub(super) mod network;
pub(super) mod shape;

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::apart;
use super::engine::{Cli, IMAGE, PATIENCE, folder, root_tar};
use crate::case::{Ctx, Session};
use crate::needs::Need;
use crate::process::{self, Ended};

/// Podman and what it cannot do without.
pub(super) const PODMAN: Need = Need::Program("podman");
pub(super) const CONMON: Need = Need::Program("conmon");

/// One store with the image in it.
#[derive(Debug)]
pub(super) struct Podman {
    program: PathBuf,
    home: PathBuf,
    /// Of what lives as long as its processes: below the user's own directory of that kind where there is one, since it is there that
    /// security modules let network helpers write; else `home` (podman takes no run root of more than 50 characters).
    run: PathBuf,
    root: bool,
    manager: &'static str,
    /// How many logs there are.
    logs: Cell<u32>,
    /// The first two numbers of its version.
    pub(super) version: (u32, u32),
}

/// The group's podman.
pub(super) fn podman(ctx: &Ctx) -> Result<&Podman> {
    ctx.session(Podman::start)
}

impl Podman {
    fn start(ctx: &Ctx) -> Result<Self> {
        let tar = root_tar(ctx)?;
        let home = folder(ctx, "podman")?;
        let run = own_run_dir(ctx).map_or_else(|| home.clone(), |dir| dir.join(&ctx.tag));
        let this = Self {
            run,
            program: process::find("podman").context("find podman")?,
            root: ctx.host.root,
            manager: manager(ctx.host.root),
            version: version()?,
            logs: Cell::new(0),
            home,
        };
        this.configure(ctx)?;
        apart::go(ctx)?;
        this.call(&["import", "--change", "CMD [\"/probe\",\"print\",\"from the image\"]", &tar, IMAGE])?
            .success()?;
        Ok(this)
    }

    /// Files of its own in place of the host's: what decides is in the test.
    fn configure(&self, ctx: &Ctx) -> Result<()> {
        let xdg = self.run.join("xdg");
        for dir in [&self.home.join("home"), &self.run, &self.run.join("run"), &xdg] {
            std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        }
        std::fs::set_permissions(&xdg, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        // The directory is the session's, or the end of one session would end the other's process that keeps the user namespace;
        // the user's systemd is reached through it all the same.
        if let (false, "systemd", Some(real)) = (self.root, self.manager, std::env::var_os("XDG_RUNTIME_DIR"))
        {
            for name in ["bus", "systemd"] {
                std::os::unix::fs::symlink(Path::new(&real).join(name), xdg.join(name))?;
            }
        }
        let runtime = ctx.subject.executable(&self.home)?;
        // podman 4 has the last key without its s, whatever its manual says. The limits are ones that a process without CAP_SYS_RESOURCE may have; podman would ask for the kernel's highest.
        // So is the limit of processes, which podman asks for unasked. Locks in shared memory have one name for all sessions of a user.
        let pids = if ctx.host.lacks(Need::Managed("pids")).is_some() { "pids_limit = 0\n" } else { "" };
        let text = format!(
            "[containers]\n{pids}default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{home}/networks\"\n\
             [engine]\nlock_type = \"file\"\nruntime = \"subject\"\nevents_logger = \"file\"\nruntime_supports_json = [\"subject\"]\n\
             runtime_supports_nocgroups = [\"subject\"]\nruntime_supports_nocgroup = [\"subject\"]\n[engine.runtimes]\nsubject = [\"{runtime}\"]\n",
            home = self.home.display(),
            runtime = runtime.display()
        );
        Ok(std::fs::write(self.home.join("containers.conf"), text)?)
    }

    /// Runs the image in the foreground without a network, gone afterwards.
    pub(super) fn run(&self, flags: &[&str], words: &[&str]) -> Result<Ended> {
        self.logged(&[&["--network", "none"], flags].concat(), words)
    }

    /// What the probe sees in such a container.
    pub(super) fn seen(&self, flags: &[&str]) -> Result<Value> {
        self.seen_with(&[&["--network", "none"], flags].concat())
    }

    /// The same with just these flags.
    pub(super) fn seen_with(&self, flags: &[&str]) -> Result<Value> {
        let text = self.logged(flags, &["/probe", "show"])?.success()?.out;
        serde_json::from_str(&text).with_context(|| format!("read what the probe showed: {text:?}"))
    }

    /// `run --rm FLAGS... IMAGE WORDS...`; what the program wrote is taken from its log. podman connects to conmon and does not
    /// wait until it is let in: what a program writes before that does not reach `podman run`.
    pub(super) fn logged(&self, flags: &[&str], words: &[&str]) -> Result<Ended> {
        let number = self.logs.get();
        self.logs.set(number + 1);
        let log = self.home.join(format!("log{number}"));
        let path = format!("path={}", log.display());
        let fixed = ["run", "--rm", "--log-driver", "k8s-file", "--log-opt", &path];
        let mut ended = self.call(&[&fixed, flags, &[IMAGE], words].concat())?;
        if let Ok(text) = std::fs::read_to_string(log)
            && !text.is_empty()
        {
            ended.out = of_stream(&text, "stdout");
            ended.err = of_stream(&text, "stderr");
        }
        Ok(ended)
    }

    /// `exec ID /probe DEEDS...`, which begins when its input has ended: by then podman is let in to conmon.
    pub(super) fn inside(&self, id: &str, deeds: &[&str]) -> Result<Ended> {
        let words = ["exec", "--interactive", id, "/probe", "stdin", ","];
        let mut ended = process::run(&mut self.command(&[&words, deeds].concat())?, PATIENCE)?;
        ended.out = ended.out.replacen("stdin: \"\"\n", "", 1);
        Ok(ended)
    }

    /// A detached container without a network, once its program says that it waits for a signal.
    pub(super) fn waiting(&self, id: &str, flags: &[&str]) -> Result<()> {
        let fixed = ["run", "--detach", "--network", "none", "--name", id];
        self.call(&[&fixed, flags, &[IMAGE, "/probe", "wait"]].concat())?.success()?;
        self.until(&["logs", id], "waiting")
    }

    /// Ends a container and takes it away.
    pub(super) fn remove(&self, id: &str) -> Result<()> {
        self.call(&["rm", "--force", "--time", "0", id])?.success().map(drop)
    }
}

impl Cli for Podman {
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.home.join("root"));
        command.arg("--runroot").arg(self.run.join("run")).arg("--tmpdir").arg(self.run.join("tmp"));
        command
            .args(["--storage-driver", "overlay", "--cgroup-manager", self.manager])
            .args(words)
            .env("CONTAINERS_CONF", self.home.join("containers.conf"))
            .env("HOME", self.home.join("home"))
            .current_dir(&self.home);
        if !self.root {
            command.env("XDG_RUNTIME_DIR", self.run.join("xdg"));
        }
        Ok(command)
    }
}

impl Session for Podman {
    fn close(&mut self) -> Result<()> {
        let left = self.text(&["ps", "--all", "--format", "{{.Names}}"])?;
        if !left.is_empty() {
            self.call(&["rm", "--all", "--force", "--time", "0"])?;
        }
        if !self.root {
            // Ends the process that keeps the user namespace.
            self.call(&["system", "migrate"])?.success()?;
        }
        // Detached containers are removed by a process that podman does not wait for.
        let gone = process::until("every process of podman's has ended", PATIENCE, || {
            Ok(crate::worker::described_descendants().is_empty())
        });
        if self.root {
            // podman's mount of its own store, which its last process leaves when another one was using it a moment before. What is
            // mounted in it keeps it busy and is found.
            let _gone = nix::mount::umount(&self.home.join("root/overlay"));
        }
        self.remove_run()?;
        ensure!(left.is_empty(), "containers are left: {}", left.replace('\n', " "));
        gone
    }
}

impl Podman {
    /// What is not in the case's directory is not removed with it; files of the user's other ids are among it.
    fn remove_run(&self) -> Result<()> {
        if self.run.starts_with(&self.home) {
            return Ok(());
        }
        let mut command = Command::new(process::find("unshare").context("find unshare (util-linux)")?);
        command.args(["--user", "--map-root-user", "--map-auto", "rm", "-rf"]).arg(&self.run);
        process::run(&mut command, PATIENCE)?.success().map(drop)
    }
}

/// What went to one stream, from lines `TIME STREAM F|P TEXT`: P is one whose line goes on.
fn of_stream(log: &str, stream: &str) -> String {
    let parts = log.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>());
    let texts = parts.filter_map(|parts| match parts.as_slice() {
        [_, of, "F", text] if *of == stream => Some(format!("{text}\n")),
        [_, of, "P", text] if *of == stream => Some((*text).to_owned()),
        _ => None,
    });
    texts.collect()
}

/// The directory that an ordinary user's login gave him; the variable may be left from somebody else's.
fn own_run_dir(ctx: &Ctx) -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !ctx.host.root)?);
    let owner = std::fs::metadata(&dir).ok()?.uid();
    (owner == nix::unistd::geteuid().as_raw()).then_some(dir)
}

/// The systemd of the system or of the user where there is one.
fn manager(root: bool) -> &'static str {
    let runs = std::path::Path::new("/run/systemd/system").is_dir();
    let reachable = root || std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some();
    if runs && reachable { "systemd" } else { "cgroupfs" }
}

fn version() -> Result<(u32, u32)> {
    let program = process::find("podman").context("find podman")?;
    let text = process::run(Command::new(program).arg("--version"), PATIENCE)?.success()?.out;
    let last = text.split_whitespace().last().unwrap_or_default();
    let mut numbers = last.split('.').filter_map(|n| n.parse().ok());
    Ok((numbers.next().context("read podman's version")?, numbers.next().unwrap_or(0)))
}
