//! A pod through containerd's CRI plugin, which is how Kubernetes runs one: driven by `crictl`, with the configuration that the
//! shim's README gives.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::blocks;
use super::containerd::{Containerd, IMAGE, PATIENCE, stop};
use super::engine::shims;
use crate::case::{Case, Ctx};
use crate::image;
use crate::needs::Need;
use crate::process::{self, Ended};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/cri-pod",
    source: "shim/README.md: containerd's CRI plugin",
    needs: &[
        Need::Root,
        Need::Controller("cpu"),
        Need::Controller("memory"),
        Need::Program("containerd"),
        Need::Program("ctr"),
        Need::Program("crictl"),
    ],
    run: pod,
}];

const PAUSE: &str = "docker.io/library/pause:latest";

/// What speaks to a server of CRI.
pub(super) struct Kubelet<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) endpoint: String,
}

impl Kubelet<'_> {
    pub(super) fn crictl(&self, words: &[&str]) -> Result<Ended> {
        let mut command = Command::new(process::find("crictl").context("find crictl")?);
        // A configuration of the host's is not ours.
        command.arg("--config").arg(self.ctx.path("crictl.yaml"));
        command.args(["--runtime-endpoint", &self.endpoint, "--image-endpoint", &self.endpoint]);
        process::run(command.args(words), PATIENCE)
    }

    /// Writes `what` for crictl to read.
    fn file(&self, name: &str, what: &Value) -> Result<String> {
        let path = self.ctx.path(name);
        std::fs::write(&path, what.to_string())?;
        Ok(path.display().to_string())
    }

    fn until(&self, id: &str, state: &str) -> Result<()> {
        process::until(&format!("the container is {state}"), PATIENCE, || {
            let seen: Value = serde_json::from_str(&self.crictl(&["inspect", id])?.success()?.out)?;
            Ok(seen["status"]["state"] == state)
        })
    }
}

/// The README's block for this generation of containerd, and what the test needs besides.
fn configuration(ctx: &Ctx) -> Result<String> {
    let program = process::find("containerd").context("find containerd")?;
    let version = process::run(Command::new(program).arg("--version"), PATIENCE)?.success()?.out;
    let old = version.split_whitespace().any(|word| word.trim_start_matches('v').starts_with("1."));
    let first = if old { "version = 2" } else { "version = 3" };
    let mut text = blocks::of_the_shim(ctx, first)?;
    let runtime = ctx.binaries.join("runtime").display().to_string();
    ensure!(text.contains("\"/usr/local/bin/runtime\"") && text.contains("SystemdCgroup = true"), "{text}");
    text = text.replace("/usr/local/bin/runtime", &runtime);
    if !std::path::Path::new("/run/systemd/system").exists() {
        text = text.replace("SystemdCgroup = true", "SystemdCgroup = false");
    }
    let dir = ctx.dir.display();
    let own = if old {
        format!(
            "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{PAUSE}\"\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"{dir}/cni\"\nconf_dir = \"{dir}/cni\"\n"
        )
    } else {
        format!(
            "[plugins.\"io.containerd.cri.v1.images\".pinned_images]\nsandbox = \"{PAUSE}\"\n\
             [plugins.\"io.containerd.cri.v1.runtime\"]\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.cri.v1.runtime\".cni]\nbin_dirs = [\"{dir}/cni\"]\nconf_dir = \"{dir}/cni\"\n"
        )
    };
    Ok(text.replacen(first, &format!("{first}\n{}", Containerd::places(ctx)), 1) + &own)
}

fn pod(ctx: &Ctx) -> Result<()> {
    std::fs::create_dir(ctx.path("cni"))?;
    std::fs::write(ctx.path("crictl.yaml"), "timeout: 60\n")?;
    let containerd = Containerd::start_configured(ctx, &configuration(ctx)?)?;
    import(ctx, &containerd)?;
    let kubelet = Kubelet { ctx, endpoint: format!("unix://{}", containerd.address()) };
    let verdict = under(&kubelet);
    if verdict.is_err() {
        kubelet.crictl(&["rmp", "--force", "--all"])?;
    }
    stop(ctx, containerd)?;
    verdict
}

/// The images of the pod: name, reference, command.
pub(super) const IMAGES: [(&str, &str, [&str; 2]); 2] =
    [("app", IMAGE, ["/probe", "wait"]), ("pause", PAUSE, ["/probe", "wait"])];

pub(super) fn archive_of(ctx: &Ctx, (name, reference, words): (&str, &str, [&str; 2])) -> Result<PathBuf> {
    let archive = ctx.path(format!("{name}.tar"));
    let config = json!({"Cmd": words, "Env": ["PATH=/"]});
    image::of_probe(&archive, &ctx.binaries.join("probe"), &config, reference)?;
    Ok(archive)
}

fn import(ctx: &Ctx, containerd: &Containerd) -> Result<()> {
    for image in IMAGES {
        let archive = archive_of(ctx, image)?;
        containerd
            .ctr(&["--namespace", "k8s.io", "image", "import", &archive.to_string_lossy()])?
            .success()?;
    }
    Ok(())
}

fn under(kubelet: &Kubelet) -> Result<()> {
    // What Kubernetes gives to containerd for a pod of the README's class.
    let class = blocks::of_the_shim(kubelet.ctx, "apiVersion: node.k8s.io/v1")?;
    let handler =
        class.lines().find_map(|line| line.strip_prefix("handler: ")).context("find the handler")?;
    pod_of_two(kubelet, handler, || {
        ensure!(shims() == 1, "{} shims for one pod", shims());
        Ok(())
    })?;
    process::until("the pod's shim has ended", PATIENCE, || Ok(shims() == 0))
}

/// What a kubelet does: a sandbox, two containers in it, an exec, new limits, the log, and the end of everything.
pub(super) fn pod_of_two(
    kubelet: &Kubelet,
    handler: &str,
    while_both_run: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let logs = kubelet.ctx.path("logs");
    let sandbox = json!({
        "metadata": {"name": kubelet.ctx.id("pod"), "uid": kubelet.ctx.tag, "namespace": "default", "attempt": 1},
        "log_directory": logs,
        // The node's network: no plug-in is needed.
        "linux": {"security_context": {"namespace_options": {"network": 2}},
            "cgroup_parent": if std::path::Path::new("/run/systemd/system").exists() { "system.slice" } else { "/" }},
    });
    let sandbox = kubelet.file("pod.json", &sandbox)?;
    let run = kubelet.crictl(&["runp", "--runtime", handler, &sandbox])?.success()?;
    let pod = run.out.trim().to_owned();
    let app = container(
        kubelet,
        (&pod, &sandbox),
        ("app", &["print", "from the app", ",", "wait", ",", "exit", "3"]),
    )?;
    let side = container(kubelet, (&pod, &sandbox), ("side", &["stop"]))?;
    while_both_run()?;
    kubelet.until(&app, "CONTAINER_RUNNING")?;
    let said = kubelet.crictl(&["exec", "--sync", &app, "/probe", "print", "from exec"])?.success()?.out;
    ensure!(said.trim_end() == "from exec", "crictl ends it with empty lines of its own: {said:?}");
    kubelet.crictl(&["exec", "--sync", &app, "/probe", "exit", "9"])?.failure()?.says("9")?;
    kubelet.crictl(&["update", "--memory", "67108864", &app])?.success()?;
    let seen: Value = serde_json::from_str(&kubelet.crictl(&["inspect", &app])?.success()?.out)?;
    ensure!(limit(&seen, kubelet.ctx)? == "67108864\n", "the limit is {:?}", limit(&seen, kubelet.ctx)?);
    kubelet.crictl(&["stats", &app])?.success()?;
    kubelet.crictl(&["stop", "--timeout", "10", &app])?.success()?;
    let ended: Value = serde_json::from_str(&kubelet.crictl(&["inspect", &app])?.success()?.out)?;
    ensure!(ended["status"]["exitCode"] == 3, "{}", ended["status"]);
    let log = kubelet.crictl(&["logs", &app])?.success()?.out;
    ensure!(log.starts_with("from the app\nwaiting\ngot SIGTERM\n"), "{log:?}");
    kubelet.crictl(&["stop", "--timeout", "0", &side])?.success()?;
    kubelet.crictl(&["rm", &app, &side])?.success()?;
    kubelet.crictl(&["stopp", &pod])?.success()?;
    kubelet.crictl(&["rmp", &pod])?.success()?;
    Ok(())
}

/// Makes and starts a container of the pod.
fn container(
    kubelet: &Kubelet,
    (pod, sandbox): (&str, &str),
    (name, deeds): (&str, &[&str]),
) -> Result<String> {
    let config = json!({
        "metadata": {"name": name, "attempt": 1},
        "image": {"image": IMAGE},
        "command": ["/probe"],
        "args": deeds,
        "log_path": format!("{name}.log"),
        "linux": {"resources": {"cpu_shares": 100}},
    });
    let config = kubelet.file(&format!("{name}.json"), &config)?;
    let id = kubelet.crictl(&["create", pod, &config, sandbox])?.success()?.out.trim().to_owned();
    kubelet.crictl(&["start", &id])?.success()?;
    Ok(id)
}

/// The memory limit of a container, as the kernel has it.
fn limit(seen: &Value, ctx: &Ctx) -> Result<String> {
    let pid = seen["info"]["pid"].as_u64().context("find the process id")?;
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let (mark, top, file) = match ctx.host.pure_v2 {
        true => ("0::", "/sys/fs/cgroup", "memory.max"),
        false => (":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    };
    let line = cgroups.lines().find_map(|line| line.split_once(mark)).context("find its cgroup")?;
    Ok(std::fs::read_to_string(format!("{top}{}/{file}", line.1))?)
}
