//! BuildKit with our runtime, and with our shim under its containerd worker: as the shim's README configures both.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::blocks;
use super::containerd::{Containerd, PATIENCE, stop};
use crate::case::{Case, Ctx};
use crate::engines::apart;
use crate::needs::Need;
use crate::process::{self, Running};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/buildkit-oci-worker",
        source: "shim/README.md: BuildKit",
        needs: &[Need::Root, Need::Program("ip"), Need::Program("buildkitd"), Need::Program("buildctl")],
        run: oci_worker,
    },
    Case {
        name: "chain/buildkit-containerd-worker",
        source: "shim/README.md: BuildKit",
        needs: &[
            Need::Root,
            Need::Controller("cpu"),
            Need::Program("ip"),
            Need::Program("buildkitd"),
            Need::Program("buildctl"),
            Need::Program("containerd"),
            Need::Program("ctr"),
        ],
        run: containerd_worker,
    },
];

const DOCKERFILE: &str =
    "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\", \"write\", \"/made\", \"by RUN\"]\n";

fn oci_worker(ctx: &Ctx) -> Result<()> {
    let (runtime, mark) = blocks::marking(ctx)?;
    let block = blocks::of_the_shim(ctx, "[worker.oci]")?;
    ensure!(block.contains("\"/usr/local/bin/runtime\""), "{block}");
    apart::go(ctx)?;
    let configuration = block.replace("/usr/local/bin/runtime", &runtime);
    builds(ctx, &configuration, &["--containerd-worker=false".to_owned()])?;
    ensure!(mark.exists(), "another runtime than the configured one was called");
    Ok(())
}

fn containerd_worker(ctx: &Ctx) -> Result<()> {
    const PLACE: &str = "/etc/containerd/coracle.toml";
    let (runtime, mark) = blocks::marking(ctx)?;
    let block = blocks::of_the_shim(ctx, "[worker.containerd]")?;
    ensure!(block.contains(PLACE), "{block}");
    let options = ctx.path("coracle.toml");
    std::fs::write(&options, format!("BinaryName = \"{runtime}\"\n"))?;
    apart::go(ctx)?;
    let containerd = Containerd::start(ctx)?;
    let address = format!("--containerd-worker-addr={}", containerd.address());
    let verdict = builds(ctx, &block.replace(PLACE, &options.display().to_string()), &[address]);
    stop(ctx, containerd)?;
    verdict?;
    ensure!(mark.exists(), "another runtime than the configured one was called");
    Ok(())
}

/// A buildkitd of this configuration builds an image whose RUN leaves a file.
fn builds(ctx: &Ctx, configuration: &str, flags: &[String]) -> Result<()> {
    let (dir, file) = (ctx.path("context"), ctx.path("buildkitd.toml"));
    std::fs::create_dir(&dir)?;
    std::fs::copy(ctx.binaries.join("probe"), dir.join("probe"))?;
    std::fs::write(dir.join("Dockerfile"), DOCKERFILE)?;
    std::fs::write(&file, configuration)?;
    let address = format!("unix://{}", ctx.path("buildkit.sock").display());
    let mut command = Command::new(process::find("buildkitd").context("find buildkitd")?);
    command.arg("--config").arg(&file).arg("--root").arg(ctx.path("buildkit"));
    let mut daemon = process::start(command.args(["--addr", &address]).args(flags), Stdio::null())?;
    let verdict = answers(&mut daemon, &address).and_then(|()| build(ctx, &address));
    daemon.signal(Signal::SIGTERM)?;
    daemon.end(PATIENCE)?;
    verdict
}

fn buildctl(address: &str) -> Result<Command> {
    let mut command = Command::new(process::find("buildctl").context("find buildctl")?);
    command.args(["--addr", address]);
    Ok(command)
}

fn answers(daemon: &mut Running, address: &str) -> Result<()> {
    process::until("buildkitd answers", PATIENCE, || {
        if let Some(code) = daemon.ends_within(Duration::ZERO)? {
            bail!("buildkitd ended with {code}: {}", daemon.errors_so_far()?);
        }
        Ok(process::run(buildctl(address)?.args(["debug", "workers"]), PATIENCE)?.code == 0)
    })
}

fn build(ctx: &Ctx, address: &str) -> Result<()> {
    let (dir, out) = (ctx.path("context").display().to_string(), ctx.path("out"));
    let mut command = buildctl(address)?;
    command.args(["build", "--progress=plain", "--frontend=dockerfile.v0", "--opt=force-network-mode=none"]);
    command.args([format!("--local=context={dir}"), format!("--local=dockerfile={dir}")]);
    command.arg(format!("--output=type=local,dest={}", out.display()));
    process::run(&mut command, PATIENCE)?.success()?;
    let made = std::fs::read_to_string(out.join("made")).context("read what RUN has made")?;
    ensure!(made == "by RUN", "{made:?}");
    Ok(())
}
