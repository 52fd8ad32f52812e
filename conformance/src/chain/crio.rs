//! A pod through CRI-O, which calls the runtime by way of conmon: with the configuration that the shim's README gives.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::blocks;
use super::containerd::PATIENCE;
use super::cri::{IMAGES, Kubelet, archive_of, pod_of_two};
use crate::case::{Case, Ctx};
use crate::engines::apart;
use crate::needs::Need;
use crate::process::{self, Running};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/crio-pod",
    source: "shim/README.md: CRI-O",
    needs: &[
        Need::Root,
        Need::Controller("cpu"),
        Need::Controller("memory"),
        Need::Program("ip"),
        Need::Program("crio"),
        Need::Program("pinns"),
        Need::Program("crictl"),
        Need::Program("podman"),
    ],
    run: pod,
}];

fn pod(ctx: &Ctx) -> Result<()> {
    let (runtime, mark) = blocks::marking(ctx)?;
    let block = blocks::of_the_shim(ctx, "[crio.runtime.runtimes.coracle]")?;
    ensure!(block.contains("\"/usr/local/bin/runtime\"") && block.contains("\"/run/coracle\""), "{block}");
    apart::go(ctx)?;
    let dir = ctx.dir.display().to_string();
    for name in ["conf.d", "net", "cni"] {
        std::fs::create_dir(ctx.path(name))?;
    }
    let block =
        block.replace("/usr/local/bin/runtime", &runtime).replace("/run/coracle", &format!("{dir}/rt"));
    std::fs::write(ctx.path("conf.d/10-coracle.conf"), block)?;
    std::fs::write(ctx.path("crio.conf"), places(ctx)?)?;
    std::fs::write(ctx.path("policy.json"), "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}")?;
    std::fs::write(ctx.path("crictl.yaml"), "timeout: 60\n")?;
    images(ctx)?;
    let kubelet = Kubelet { ctx, endpoint: format!("unix://{dir}/sock") };
    let mut command = Command::new(process::find("crio").context("find crio")?);
    command.args([format!("--config={dir}/crio.conf"), format!("--config-dir={dir}/conf.d")]);
    let mut daemon = process::start(&mut command, Stdio::null())?;
    let verdict = answers(&mut daemon, &kubelet).and_then(|()| pod_of_two(&kubelet, "coracle", || Ok(())));
    if verdict.is_err() {
        kubelet.crictl(&["rmp", "--force", "--all"])?;
    }
    daemon.signal(Signal::SIGTERM)?;
    daemon.end(PATIENCE)?;
    verdict?;
    ensure!(mark.exists(), "another runtime than the configured one was called");
    Ok(())
}

/// What keeps CRI-O in the case's directory, and what it needs besides.
fn places(ctx: &Ctx) -> Result<String> {
    let dir = ctx.dir.display();
    let pinns = process::find("pinns").context("find pinns")?;
    let [_, (_, pause, _)] = IMAGES;
    let manager = if std::path::Path::new("/run/systemd/system").exists() { "systemd" } else { "cgroupfs" };
    Ok(format!(
        "[crio]\nroot = \"{dir}/storage\"\nrunroot = \"{dir}/run\"\nstorage_driver = \"overlay\"\nlog_dir = \"{dir}/pods\"\n\
         version_file = \"{dir}/version\"\nversion_file_persist = \"{dir}/kept\"\nclean_shutdown_file = \"{dir}/clean\"\n\
         [crio.api]\nlisten = \"{dir}/sock\"\n\
         [crio.runtime]\ndefault_runtime = \"coracle\"\ncgroup_manager = \"{manager}\"\nconmon_cgroup = \"pod\"\n\
         container_exits_dir = \"{dir}/exits\"\ncontainer_attach_socket_dir = \"{dir}/attach\"\nnamespaces_dir = \"{dir}/ns\"\n\
         pinns_path = \"{}\"\nhooks_dir = []\napparmor_profile = \"unconfined\"\nenable_criu_support = false\n\
         [crio.image]\npause_image = \"{pause}\"\npause_command = \"\"\nsignature_policy = \"{dir}/policy.json\"\n\
         [crio.network]\nnetwork_dir = \"{dir}/net\"\nplugin_dirs = [\"{dir}/cni\"]\n\
         [crio.nri]\nenable_nri = false\n",
        pinns.display()
    ))
}

/// Puts the images into CRI-O's store, which is podman's too.
fn images(ctx: &Ctx) -> Result<()> {
    let podman = process::find("podman").context("find podman")?;
    for (name, reference, words) in IMAGES {
        let archive = archive_of(ctx, (name, reference, words))?;
        let mut command = Command::new(&podman);
        command.arg("--root").arg(ctx.path("storage")).arg("--runroot").arg(ctx.path("run"));
        command.args(["--storage-driver=overlay", "load", "--input"]).arg(archive);
        process::run(&mut command, PATIENCE)?.success()?;
    }
    Ok(())
}

fn answers(daemon: &mut Running, kubelet: &Kubelet) -> Result<()> {
    process::until("CRI-O answers", PATIENCE, || {
        if let Some(code) = daemon.ends_within(Duration::ZERO)? {
            bail!("crio ended with {code}: {}", daemon.errors_so_far()?);
        }
        Ok(kubelet.crictl(&["version"])?.code == 0)
    })
}
