//! containerd (Debian's, started by the test in a directory of its own) with our shim over our runtime, driven by `ctr`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::case::{Case, Ctx};
use crate::image;
use crate::needs::Need;
use crate::process::{self, Ended, Running};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/ctr-run-exec-kill-delete",
    source: "issue 2: under containerd",
    needs: &[Need::Root, Need::Controller("cpu"), Need::Program("containerd"), Need::Program("ctr")],
    run: life,
}];

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const IMAGE: &str = "docker.io/library/probe:latest";

/// A containerd that runs until it is dropped.
pub(super) struct Containerd {
    running: Running,
    address: PathBuf,
    path: String,
}

impl Containerd {
    pub(super) fn start(ctx: &Ctx) -> Result<Self> {
        let dir = ctx.path("containerd");
        std::fs::create_dir(&dir)?;
        let address = dir.join("sock");
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{1}\"\n",
            dir.display(),
            address.display()
        );
        std::fs::write(dir.join("config.toml"), config)?;
        Self::launch(ctx)
    }

    /// Kills it without a word, and starts it again over what it left.
    pub(super) fn restart_after_a_kill(self, ctx: &Ctx) -> Result<Self> {
        self.running.signal(nix::sys::signal::Signal::SIGKILL)?;
        self.running.end(PATIENCE)?;
        Self::launch(ctx)
    }

    fn launch(ctx: &Ctx) -> Result<Self> {
        let dir = ctx.path("containerd");
        let address = dir.join("sock");
        // containerd finds shims on its PATH, and our shim finds the runtime beside itself.
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ctx.binaries.display()
        );
        let program = process::find("containerd").context("find containerd")?;
        let mut command = Command::new(program);
        command.arg("--config").arg(dir.join("config.toml")).env("PATH", &path).current_dir(&dir);
        let mut running = process::start(&mut command, Stdio::null())?;
        let this = |running| Self { running, address: address.clone(), path: path.clone() };
        process::until("containerd answers", PATIENCE, || {
            if let Some(code) = running.ends_within(Duration::ZERO)? {
                bail!("containerd ended with {code}: {}", running.errors_so_far()?);
            }
            Ok(ctr_at(&address, &path, &["version"])?.code == 0)
        })?;
        Ok(this(running))
    }

    pub(super) fn ctr(&self, words: &[&str]) -> Result<Ended> {
        ctr_at(&self.address, &self.path, words)
    }

    /// The same as a command that is not started yet.
    pub(super) fn command(&self, words: &[&str]) -> Result<Command> {
        ctr_command(&self.address, &self.path, words)
    }
}

fn ctr_at(address: &Path, path: &str, words: &[&str]) -> Result<Ended> {
    process::run(&mut ctr_command(address, path, words)?, PATIENCE)
}

fn ctr_command(address: &Path, path: &str, words: &[&str]) -> Result<Command> {
    let program = process::find("ctr").context("find ctr")?;
    let mut command = Command::new(program);
    command.arg("--address").arg(address).args(words).env("PATH", path);
    Ok(command)
}

/// `ctr task delete` ends with 0 itself, and says the task's code where that is another.
pub(super) fn tells(ended: Ended, code: i32) -> Result<()> {
    let ended = ended.success()?;
    if code != 0 {
        ended.says(&format!("exit with non-zero exit code {code}"))?;
    }
    Ok(())
}

/// The archive of an image of nothing but the probe.
pub(super) fn archive(ctx: &Ctx) -> Result<PathBuf> {
    let archive = ctx.path("probe.tar");
    let config = json!({"Cmd": ["/probe", "print", "from the image"], "Env": ["PATH=/"]});
    image::of_probe(&archive, &ctx.binaries.join("probe"), &config, IMAGE)?;
    Ok(archive)
}

fn life(ctx: &Ctx) -> Result<()> {
    let archive = archive(ctx)?;
    let containerd = Containerd::start(ctx)?;
    let verdict = under(ctx, &containerd, &archive);
    if verdict.is_err() {
        // containerd is told to end before its directory goes, so that its mounts go with it.
        let _killed = containerd.ctr(&["task", "kill", "--all", "--signal", "KILL", &ctx.id("c")]);
    }
    stop(ctx, containerd)?;
    verdict
}

fn under(ctx: &Ctx, containerd: &Containerd, archive: &Path) -> Result<()> {
    containerd.ctr(&["image", "import", &archive.to_string_lossy()])?.success()?;
    let run = |flags: &[&str], words: &[&str]| {
        let fixed: &[&str] = &["run", "--runtime", "io.containerd.coracle.v2"];
        containerd.ctr(&[fixed, flags, &[IMAGE], words].concat())
    };
    let (one, two) = (ctx.id("one"), ctx.id("c"));
    run(&["--rm"], &[&one])?.success()?.out("from the image\n")?;
    run(&["--rm"], &[&one, "/probe", "exit", "17"])?.code(17)?;
    run(&["--detach"], &[&two, "/probe", "stop"])?.success()?;
    let tasks = containerd.ctr(&["task", "ls"])?.success()?.out;
    ensure!(tasks.lines().any(|l| l.starts_with(&two) && l.contains("RUNNING")), "task ls: {tasks}");
    let exec = |exec_id: &str, words: &[&str]| {
        containerd.ctr(&[&["task", "exec", "--exec-id", exec_id, &two], words].concat())
    };
    exec("e1", &["/probe", "print", "from exec"])?.success()?.out("from exec\n")?;
    exec("e2", &["/probe", "exit", "9"])?.code(9)?;
    containerd.ctr(&["task", "kill", "--signal", "KILL", &two])?.success()?;
    process::until("the task has stopped", PATIENCE, || {
        Ok(containerd.ctr(&["task", "ls"])?.out.lines().any(|l| l.starts_with(&two) && l.contains("STOPPED")))
    })?;
    tells(containerd.ctr(&["task", "delete", &two])?, 137)?;
    containerd.ctr(&["container", "delete", &two])?.success()?;
    ensure!(containerd.ctr(&["task", "ls"])?.success()?.out.lines().count() == 1, "a task is left");
    Ok(())
}

pub(super) fn stop(ctx: &Ctx, containerd: Containerd) -> Result<()> {
    containerd.running.signal(nix::sys::signal::Signal::SIGTERM)?;
    containerd.running.end(PATIENCE)?;
    process::until("every shim has ended", Duration::from_secs(10), || {
        Ok(!crate::worker::described_descendants().iter().any(|p| p.contains("containerd-shim-coracle")))
    })
    .with_context(|| format!("in {}", ctx.dir.display()))
}
