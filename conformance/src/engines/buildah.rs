//! Buildah: RUN and `buildah run` through the runtime, as root and without.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apart;
use super::engine::{Cli, expect, folder};
use crate::case::{Case, Ctx, Session};
use crate::needs::Need;
use crate::process::{self, Ended};

const NEEDS: &[Need] = &[Need::Program("buildah"), Need::UserIds];

pub(super) const CASES: &[Case] = &[
    Case { name: "engines/buildah-bud", source: "buildah-build(1): --runtime", needs: NEEDS, run: bud },
    Case { name: "engines/buildah-bud-that-fails", source: "buildah-build(1)", needs: NEEDS, run: bud_fails },
    Case { name: "engines/buildah-run", source: "buildah-run(1): --runtime", needs: NEEDS, run },
    Case { name: "engines/buildah-run-shape", source: "buildah-run(1): its flags", needs: NEEDS, run: shape },
];

/// A store of its own.
#[derive(Debug)]
struct Buildah {
    program: PathBuf,
    home: PathBuf,
    context: PathBuf,
    runtime: String,
    root: bool,
}

fn buildah(ctx: &Ctx) -> Result<&Buildah> {
    ctx.session(Buildah::start)
}

impl Buildah {
    fn start(ctx: &Ctx) -> Result<Self> {
        let (home, context) = (folder(ctx, "buildah")?, folder(ctx, "context")?);
        for name in ["home", "xdg"] {
            std::fs::create_dir(home.join(name))?;
        }
        std::fs::set_permissions(home.join("xdg"), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        // Limits that a process without CAP_SYS_RESOURCE may have.
        let text = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        std::fs::write(home.join("containers.conf"), text)?;
        std::fs::copy(ctx.binaries.join("probe"), context.join("probe"))?;
        let runtime = ctx.subject.executable(&home)?.to_string_lossy().into_owned();
        apart::go(ctx)?;
        let program = process::find("buildah").context("find buildah")?;
        Ok(Self { program, home, context, runtime, root: ctx.host.root })
    }

    /// `bud` of that Dockerfile, with the probe in the context.
    fn bud(&self, tag: &str, dockerfile: &str) -> Result<Ended> {
        std::fs::write(self.context.join("Dockerfile"), dockerfile)?;
        let context = self.context.to_string_lossy();
        self.call(&[
            "bud",
            "--runtime",
            &self.runtime,
            "--isolation",
            "oci",
            "--network",
            "none",
            "--tag",
            tag,
            &context,
        ])
    }

    /// A working container of that image; gives its name.
    fn container(&self, image: &str) -> Result<String> {
        self.text(&["from", "--pull-never", image])
    }

    fn run(&self, flags: &[&str], words: &[&str]) -> Result<Ended> {
        let fixed = ["run", "--runtime", &self.runtime, "--isolation", "oci", "--network", "none"];
        self.call(&[&fixed, flags, words].concat())
    }
}

impl Cli for Buildah {
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.program);
        for (flag, dir) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.home.join(dir));
        }
        command
            .args(["--storage-driver", "overlay"])
            .args(words)
            .env("CONTAINERS_CONF", self.home.join("containers.conf"))
            .env("HOME", self.home.join("home"))
            .current_dir(&self.home);
        if !self.root {
            command.env("XDG_RUNTIME_DIR", self.home.join("xdg"));
        }
        Ok(command)
    }
}

impl Session for Buildah {
    fn close(&mut self) -> Result<()> {
        self.call(&["rm", "--all"])?.success()?;
        Ok(())
    }
}

const BASE: &str = "FROM scratch\nCOPY probe /probe\nENV PATH=/\n";

fn bud(ctx: &Ctx) -> Result<()> {
    let buildah = buildah(ctx)?;
    let text = format!(
        "{BASE}RUN [\"/probe\", \"write\", \"/made\", \"by RUN\"]\nUSER 1000\nWORKDIR /work\nRUN [\"/probe\", \"show\"]\n"
    );
    let out = buildah.bud("bud", &text)?.success()?.out;
    let line = out.lines().find(|line| line.starts_with("{\"args\"")).context("find what RUN showed")?;
    let seen: serde_json::Value = serde_json::from_str(line)?;
    expect(&seen, "/uid/0", 1000)?;
    expect(&seen, "/cwd", "/work")?;
    let name = buildah.container("localhost/bud")?;
    buildah.run(&["--user", "0"], &[&name, "/probe", "cat", "/made"])?.success()?.out("by RUN")?;
    Ok(())
}

fn bud_fails(ctx: &Ctx) -> Result<()> {
    let text = format!("{BASE}RUN [\"/probe\", \"exit\", \"5\"]\n");
    buildah(ctx)?.bud("fails", &text)?.failure()?.says("exit status 5")?;
    let text = format!("{BASE}RUN [\"/nothing\"]\n");
    buildah(ctx)?.bud("fails", &text)?.failure()?.says("no such file or directory")?;
    Ok(())
}

fn run(ctx: &Ctx) -> Result<()> {
    let buildah = buildah(ctx)?;
    buildah.bud("run", BASE)?.success()?;
    let name = buildah.container("localhost/run")?;
    let words = ["/probe", "print", "out", ",", "err", "error", ",", "exit", "7"];
    buildah.run(&[], &[&[name.as_str()], &words[..]].concat())?.code(7)?.out("out\n")?.says("error")?;
    Ok(())
}

fn shape(ctx: &Ctx) -> Result<()> {
    let buildah = buildah(ctx)?;
    buildah.bud("shape", BASE)?.success()?;
    let name = buildah.container("localhost/shape")?;
    let volume = format!("{}:/mine:ro", buildah.context.display());
    let flags = ["--volume", &volume, "--cap-drop", "all", "--hostname", "named", "--workingdir", "/mine"];
    let ended = buildah.run(&flags, &[&name, "/probe", "show"])?.success()?;
    let seen: serde_json::Value = serde_json::from_str(&ended.out)?;
    expect(&seen, "/hostname", "named")?;
    expect(&seen, "/cwd", "/mine")?;
    expect(&seen, "/status/CapEff", "0000000000000000")?;
    let found = seen["mounts"].as_array().is_some_and(|m| m.iter().any(|m| m["at"] == "/mine"));
    ensure!(found, "no volume");
    Ok(())
}
