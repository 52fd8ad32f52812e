//! Podman's networks and pods: containers that reach each other, the host and nothing.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{CONMON, PODMAN, Podman, podman};
use crate::case::{Case, Ctx, not_run};
use crate::engines::engine::{Cli, IMAGE, expect, free_port, get, own_namespace};
use crate::needs::Need;

const NEEDS: &[Need] = &[PODMAN, CONMON, Need::UserIds];
const BRIDGE: &[Need] =
    &[PODMAN, CONMON, Need::UserIds, Need::Program("/usr/lib/podman/netavark"), Need::Tun];
const SLIRP: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::Program("slirp4netns"), Need::Tun];
const PASTA: &[Need] =
    &[PODMAN, CONMON, Need::UserIds, Need::OrdinaryUser, Need::Program("pasta"), Need::Tun];
const PODS: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::EveryV1Mounted];

pub(in crate::engines) const CASES: &[Case] = &[
    Case { name: "engines/podman-network-none", source: "podman-run(1): --network", needs: NEEDS, run: none },
    Case { name: "engines/podman-network-host", source: "podman-run(1): --network", needs: NEEDS, run: host },
    Case {
        name: "engines/podman-network-container",
        source: "podman-run(1): --network",
        needs: NEEDS,
        run: container,
    },
    Case {
        name: "engines/podman-network-bridge",
        source: "podman-run(1): --network",
        needs: BRIDGE,
        run: bridge,
    },
    Case {
        name: "engines/podman-network-slirp4netns",
        source: "podman-run(1): --network",
        needs: SLIRP,
        run: slirp,
    },
    Case {
        name: "engines/podman-network-pasta",
        source: "podman-run(1): --network",
        needs: PASTA,
        run: pasta,
    },
    Case { name: "engines/podman-pod", source: "podman-pod-create(1)", needs: PODS, run: pod },
    Case { name: "engines/podman-pod-life", source: "podman-pod(1)", needs: PODS, run: pod_life },
];

fn none(ctx: &Ctx) -> Result<()> {
    expect(&podman(ctx)?.seen(&[])?, "/interfaces", json!(["lo"]))
}

fn host(ctx: &Ctx) -> Result<()> {
    let seen = podman(ctx)?.seen_with(&["--network", "host"])?;
    expect(&seen, "/namespaces/net", own_namespace("net")?)
}

fn container(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("server"));
    podman
        .call(&[
            "run",
            "--detach",
            "--network",
            "none",
            "--name",
            &id,
            IMAGE,
            "/probe",
            "serve",
            "127.0.0.1:80",
            "served",
        ])?
        .success()?;
    podman.until(&["logs", &id], "serving 127.0.0.1:80")?;
    let joined = format!("container:{id}");
    podman
        .logged(&["--network", &joined], &["/probe", "get", "127.0.0.1:80", "/"])?
        .success()?
        .out("served")?;
    podman.remove(&id)
}

/// A server in the container is reached from outside through a published port.
fn published(ctx: &Ctx, podman: &Podman, network: &str) -> Result<()> {
    let (id, port) = (ctx.id("published"), free_port()?);
    let publish = format!("127.0.0.1:{port}:80");
    let flags = ["run", "--detach", "--name", &id, "--network", network, "--publish", &publish];
    podman.call(&[&flags[..], &[IMAGE, "/probe", "serve", "0.0.0.0:80", "served"]].concat())?.success()?;
    let body = get(ctx, &format!("127.0.0.1:{port}"))?;
    let seen = podman.inside(&id, &["show"]);
    podman.remove(&id)?;
    ensure!(body == "served", "{body:?}");
    let seen: serde_json::Value = serde_json::from_str(&seen?.success()?.out)?;
    ensure!(
        seen["interfaces"].as_array().is_some_and(|i| i.len() == 2),
        "interfaces: {}",
        seen["interfaces"]
    );
    Ok(())
}

fn bridge(ctx: &Ctx) -> Result<()> {
    published(ctx, podman(ctx)?, "bridge")
}

fn slirp(ctx: &Ctx) -> Result<()> {
    published(ctx, podman(ctx)?, "slirp4netns")
}

fn pasta(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    if podman.version < (4, 4) {
        return Err(not_run("podman knows pasta since 4.4"));
    }
    published(ctx, podman, "pasta")
}

/// A pod whose first container is the image's own program: podman would build a pause image otherwise.
fn make(ctx: &Ctx, podman: &Podman, name: &str) -> Result<()> {
    if ctx.host.root && ctx.host.pure_v2 && podman.version < (4, 4) && podman.manager == "cgroupfs" {
        return Err(not_run("podman 4.3 denies every device to a pod on cgroup v2 without systemd"));
    }
    let infra = ["--infra-image", IMAGE, "--infra-command", "/probe wait"];
    podman
        .call(&[&["pod", "create", "--network", "none", "--name", name][..], &infra].concat())?
        .success()?;
    Ok(())
}

fn pod(ctx: &Ctx) -> Result<()> {
    let (podman, pod, server) = (podman(ctx)?, ctx.id("pod"), ctx.id("member"));
    make(ctx, podman, &pod)?;
    podman
        .call(&[
            "run",
            "--detach",
            "--pod",
            &pod,
            "--name",
            &server,
            IMAGE,
            "/probe",
            "serve",
            "127.0.0.1:80",
            "served",
        ])?
        .success()?;
    podman.until(&["logs", &server], "serving 127.0.0.1:80")?;
    let ended = podman.logged(&["--pod", &pod], &["/probe", "get", "127.0.0.1:80", "/"]);
    let two = podman.seen_with(&["--pod", &pod, "--pid", &format!("container:{server}")]);
    podman.call(&["pod", "rm", "--force", "--time", "0", &pod])?.success()?;
    ended?.success()?.out("served")?;
    ensure!(two?["hostname"] == pod.as_str(), "the pod's name is the host's name inside");
    Ok(())
}

fn pod_life(ctx: &Ctx) -> Result<()> {
    let (podman, pod, member) = (podman(ctx)?, ctx.id("podlife"), ctx.id("in"));
    make(ctx, podman, &pod)?;
    podman.call(&["create", "--pod", &pod, "--name", &member, IMAGE, "/probe", "wait"])?.success()?;
    podman.call(&["pod", "start", &pod])?.success()?;
    podman.until(&["logs", &member], "waiting")?;
    if ctx.host.lacks(Need::Managed("freezer")).is_none() {
        podman.call(&["pod", "pause", &pod])?.success()?;
        ensure!(podman.text(&["inspect", "--format", "{{.State.Status}}", &member])? == "paused");
        podman.call(&["pod", "unpause", &pod])?.success()?;
    }
    podman.call(&["pod", "stop", "--time", "60", &pod])?.success()?;
    ensure!(podman.text(&["logs", &member])?.ends_with("got SIGTERM"));
    podman.call(&["pod", "rm", &pod])?.success()?;
    Ok(())
}
