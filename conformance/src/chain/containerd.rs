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

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/ctr-run-exec-kill-delete",
        source: "issue 2: under containerd",
        needs: &[Need::Root, Need::Controller("cpu"), Need::Program("containerd"), Need::Program("ctr")],
        run: life,
    },
    Case {
        name: "chain/ctr-rootless",
        source: "issue 2: under containerd, without root; containerd/docs/rootless.md",
        needs: &[
            Need::OrdinaryUser,
            Need::UserNamespaces,
            Need::SubordinateIds,
            Need::Program("nsenter"),
            Need::Program("containerd"),
            Need::Program("ctr"),
        ],
        run: life_without_root,
    },
];

pub(super) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const IMAGE: &str = "docker.io/library/probe:latest";

/// As whom containerd and everything below it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    Root,
    /// As root of a user namespace with the user's subordinate ids, in a mount namespace with a /run of its own: ctr, shims and
    /// the runtime keep what they need there, and on the host it is root's.
    Rootless,
    /// The same with the user's session bus, over which his systemd makes cgroups.
    Delegated,
}

/// What a killed containerd leaves: its directory.
pub(super) struct Killed(Privilege);

impl Killed {
    /// Starts it again.
    pub(super) fn launch(self, ctx: &Ctx) -> Result<Containerd> {
        Containerd::launch(self.0, ctx)
    }
}

/// A containerd that runs until it is dropped.
pub(crate) struct Containerd {
    running: Running,
    privilege: Privilege,
    address: PathBuf,
    path: String,
}

impl Containerd {
    pub(crate) fn start(ctx: &Ctx) -> Result<Self> {
        Self::start_as(Privilege::Root, ctx)
    }

    pub(super) fn start_as(privilege: Privilege, ctx: &Ctx) -> Result<Self> {
        let plain = "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]";
        Self::configure(privilege, ctx, &format!("version = 2\n{plain}\n{}", Self::places(ctx)))
    }

    /// One with this configuration, which begins with `places`.
    pub(super) fn start_configured(ctx: &Ctx, config: &str) -> Result<Self> {
        Self::configure(Privilege::Root, ctx, config)
    }

    /// The lines of a configuration that keep it in the case's directory.
    pub(super) fn places(ctx: &Ctx) -> String {
        let dir = ctx.path("containerd").display().to_string();
        format!("root = \"{dir}/root\"\nstate = \"{dir}/state\"\n[grpc]\naddress = \"{dir}/sock\"\n")
    }

    fn configure(privilege: Privilege, ctx: &Ctx, config: &str) -> Result<Self> {
        let dir = ctx.path("containerd");
        std::fs::create_dir(&dir)?;
        std::fs::write(dir.join("config.toml"), config)?;
        Self::launch(privilege, ctx)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(super) fn address(&self) -> String {
        self.address.display().to_string()
    }

    /// Kills it without a word, and starts it again over what it left.
    pub(super) fn restart_after_a_kill(self, ctx: &Ctx) -> Result<Self> {
        self.kill()?.launch(ctx)
    }

    /// Kills it without a word.
    pub(super) fn kill(self) -> Result<Killed> {
        self.running.signal(nix::sys::signal::Signal::SIGKILL)?;
        self.running.end(PATIENCE)?;
        Ok(Killed(self.privilege))
    }

    fn launch(privilege: Privilege, ctx: &Ctx) -> Result<Self> {
        let dir = ctx.path("containerd");
        let address = dir.join("sock");
        // containerd finds shims on its PATH, and our shim finds the runtime beside itself.
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ctx.binaries.display()
        );
        let mut command = privilege.daemon()?;
        command.arg("--config").arg(dir.join("config.toml")).env("PATH", &path).current_dir(&dir);
        let running = process::start(&mut command, Stdio::null())?;
        let mut this = Self { running, privilege, address, path };
        process::until("containerd answers", PATIENCE, || {
            if let Some(code) = this.running.ends_within(Duration::ZERO)? {
                bail!("containerd ended with {code}: {}", this.running.errors_so_far()?);
            }
            Ok(this.ctr(&["version"])?.code == 0)
        })?;
        Ok(this)
    }

    pub(crate) fn ctr(&self, words: &[&str]) -> Result<Ended> {
        process::run(&mut self.command(words)?, PATIENCE)
    }

    /// The same as a command that is not started yet.
    pub(super) fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.beside("ctr")?;
        command.arg("--address").arg(&self.address).args(words).env("PATH", &self.path);
        Ok(command)
    }

    /// `program`, where containerd runs.
    fn beside(&self, program: &str) -> Result<Command> {
        let program = process::find(program).with_context(|| format!("find {program}"))?;
        if self.privilege == Privilege::Root {
            return Ok(Command::new(program));
        }
        let mut command = Command::new(process::find("nsenter").context("find nsenter (util-linux)")?);
        command
            .arg(format!("--target={}", self.running.pid()))
            .args(["--user", "--mount", "--"])
            .arg(program)
            // overlayfs is for root alone on kernels before 5.11.
            .env("CONTAINERD_SNAPSHOTTER", "native");
        if self.privilege == Privilege::Rootless {
            command.env_remove("XDG_RUNTIME_DIR");
        }
        Ok(command)
    }
}

impl Privilege {
    /// containerd without its arguments; the process that is started becomes it.
    fn daemon(self) -> Result<Command> {
        let program = process::find("containerd").context("find containerd")?;
        if self == Self::Root {
            return Ok(Command::new(program));
        }
        let mut command = Command::new(process::find("unshare").context("find unshare (util-linux)")?);
        command.args(["--user", "--map-root-user", "--map-auto", "--mount", "sh", "-euc"]);
        let own_run = match self {
            Self::Delegated => {
                "mkdir user; mount --rbind /run/user user; mount -t tmpfs -o mode=755 tmpfs /run; \
                 mkdir /run/user; mount --move user /run/user; exec \"$@\""
            }
            _ => "mount -t tmpfs -o mode=755 tmpfs /run; exec \"$@\"",
        };
        command.args([own_run, "sh"]).arg(program);
        if self == Self::Rootless {
            // Under /run on most hosts, so it is not there any more.
            command.env_remove("XDG_RUNTIME_DIR");
        }
        Ok(command)
    }
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
pub(crate) fn archive(ctx: &Ctx) -> Result<PathBuf> {
    let archive = ctx.path("probe.tar");
    let config = json!({"Cmd": ["/probe", "print", "from the image"], "Env": ["PATH=/"]});
    image::of_probe(&archive, &ctx.binaries.join("probe"), &config, IMAGE)?;
    Ok(archive)
}

fn life(ctx: &Ctx) -> Result<()> {
    let archive = archive(ctx)?;
    let containerd = Containerd::start(ctx)?;
    let verdict = under(ctx, &containerd, &archive);
    end(ctx, containerd, verdict)
}

fn life_without_root(ctx: &Ctx) -> Result<()> {
    let archive = archive(ctx)?;
    let containerd = Containerd::start_as(Privilege::Rootless, ctx)?;
    let verdict = under(ctx, &containerd, &archive)
        .and_then(|()| says_what_limits_need(ctx, &containerd))
        .and_then(|()| nothing_is_left(ctx, &containerd));
    end(ctx, containerd, verdict)
}

pub(super) fn end(ctx: &Ctx, containerd: Containerd, verdict: Result<()>) -> Result<()> {
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
        // Unasked, ctr sets a weight, which needs a cgroup that the user may write to.
        let own: &[&str] = match containerd.privilege {
            Privilege::Root => &[],
            Privilege::Rootless | Privilege::Delegated => &["--cpu-shares", "0"],
        };
        containerd.ctr(&[fixed, own, flags, &[IMAGE], words].concat())
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

/// Unasked, ctr wants a weight of the processor, which needs a cgroup.
fn says_what_limits_need(ctx: &Ctx, containerd: &Containerd) -> Result<()> {
    let hint = "permission denied (rootless needs no limits + no cgrouppath when no permission is granted for cgroups; --systemd-cgroup \
        has systemd make one)";
    let words = ["run", "--rm", "--runtime", "io.containerd.coracle.v2", IMAGE, &ctx.id("weighed")];
    containerd.ctr(&words)?.code(1)?.says(hint)?;
    Ok(())
}

/// Looks for what is left of the case's containers where the worker, which is not in the namespaces, cannot.
pub(super) fn nothing_is_left(ctx: &Ctx, containerd: &Containerd) -> Result<()> {
    let bundles = ctx.path("containerd/state/io.containerd.runtime.v2.task/default");
    // containerd forgets the task first; then the bundle goes, and the shim with its socket.
    process::until("the bundle is gone", PATIENCE, || Ok(std::fs::read_dir(&bundles)?.next().is_none()))?;
    let named = format!("*{}*", ctx.tag);
    let mut left = String::new();
    process::until("/run is empty of the containers", PATIENCE, || {
        let mut find = containerd.beside("find")?;
        find.args(["/run", "-name", &named, "-o", "-path", "/run/containerd/s/*", "-type", "s"]);
        left = process::run(&mut find, PATIENCE)?.success()?.out;
        Ok(left.is_empty())
    })
    .with_context(|| format!("left: {left:?}"))?;
    let mounts = process::run(containerd.beside("cat")?.arg("/proc/self/mounts"), PATIENCE)?.success()?.out;
    ensure!(!mounts.contains(&ctx.tag), "a mount is left: {mounts}");
    let snapshots = containerd.ctr(&["snapshot", "ls"])?.success()?.out;
    ensure!(!snapshots.contains(&ctx.tag), "a snapshot is left: {snapshots}");
    Ok(())
}

pub(crate) fn stop(ctx: &Ctx, containerd: Containerd) -> Result<()> {
    containerd.running.signal(nix::sys::signal::Signal::SIGTERM)?;
    containerd.running.end(PATIENCE)?;
    process::until("every shim has ended", PATIENCE, || {
        Ok(!crate::worker::described_descendants().iter().any(|p| p.contains("containerd-shim-coracle")))
    })
    .with_context(|| format!("in {}", ctx.dir.display()))
}
