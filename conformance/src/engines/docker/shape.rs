//! What Docker's flags make of a container. One flag, one claim.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{NEEDS, docker};
use crate::case::{Case, Ctx};
use crate::engines::engine::{Cli, MEMORY_FILES, PIDS_FILES, expect, folder, here, own_namespace};
use crate::needs::Need;

const MEMORY: &[Need] = &[
    Need::Root,
    Need::Program("dockerd"),
    Need::Program("docker"),
    Need::Program("containerd"),
    Need::Program("iptables"),
    Need::Managed("memory"),
    Need::Managed("pids"),
];

const fn flag(name: &'static str, needs: &'static [Need], run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, source: "docker run, the flag of that name", needs, run }
}

pub(in crate::engines) const CASES: &[Case] = &[
    flag("engines/docker-privileged", NEEDS, privileged),
    flag("engines/docker-init", NEEDS, init),
    flag("engines/docker-namespaces-of-the-host", NEEDS, host),
    flag("engines/docker-read-only-and-tmpfs", NEEDS, read_only),
    flag("engines/docker-cap-drop-and-add", NEEDS, caps),
    flag("engines/docker-security-opt", NEEDS, security),
    flag("engines/docker-device", NEEDS, device),
    flag("engines/docker-volume", NEEDS, volume),
    flag("engines/docker-user", NEEDS, user),
    flag("engines/docker-memory-and-pids", MEMORY, memory),
    flag("engines/docker-update-and-stats", MEMORY, update),
];

/// dockerd asks for every capability, also for those that it does not have itself.
fn privileged(ctx: &Ctx) -> Result<()> {
    let docker = docker(ctx)?;
    let seen = docker.seen(&["--privileged"])?;
    expect(&seen, "/status/Seccomp", "0")?;
    let words = ["/probe", "mount", "t", "/etc", "tmpfs", "-", ",", "open", "/dev/kmsg", "r"];
    docker
        .run(&["--privileged"], &words)?
        .success()?
        .out("mount t /etc tmpfs -: ok\nopen /dev/kmsg r: ok\n")?;
    Ok(())
}

fn init(ctx: &Ctx) -> Result<()> {
    let docker = docker(ctx)?;
    crate::engines::engine::init()?;
    expect(&docker.seen(&["--init"])?, "/ppid", 1)?;
    docker.run(&["--init"], &["/probe", "exit", "7"])?.code(7)?;
    Ok(())
}

fn host(ctx: &Ctx) -> Result<()> {
    let seen = docker(ctx)?.show(&[
        "run",
        "--rm",
        "--network",
        "host",
        "--pid",
        "host",
        "--ipc",
        "host",
        "--uts",
        "host",
    ])?;
    for kind in ["net", "pid", "ipc", "uts"] {
        expect(&seen, &format!("/namespaces/{kind}"), own_namespace(kind)?)?;
    }
    Ok(())
}

fn read_only(ctx: &Ctx) -> Result<()> {
    let words = ["/probe", "touch", "/x", ",", "touch", "/deep/in/x"];
    docker(ctx)?
        .run(&["--read-only", "--tmpfs", "/deep/in:size=1m"], &words)?
        .success()?
        .out("touch /x: EROFS\ntouch /deep/in/x: ok\n")?;
    Ok(())
}

fn caps(ctx: &Ctx) -> Result<()> {
    let seen = docker(ctx)?.seen(&["--cap-drop", "all", "--cap-add", "sys_admin", "--cap-add", "net_raw"])?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        expect(&seen, &format!("/status/{set}"), "0000000000202000")?;
    }
    Ok(())
}

fn security(ctx: &Ctx) -> Result<()> {
    let (docker, profile) = (docker(ctx)?, ctx.path("seccomp.json"));
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 85}]}"#;
    std::fs::write(&profile, text)?;
    let flag = format!("seccomp={}", profile.display());
    docker
        .run(&["--security-opt", &flag], &["/probe", "mkdir", "/x"])?
        .success()?
        .out("mkdir /x: ERESTART\n")?;
    let seen = docker.seen(&["--security-opt", "no-new-privileges"])?;
    expect(&seen, "/status/NoNewPrivs", "1")?;
    expect(&seen, "/status/Seccomp", "2")
}

fn device(ctx: &Ctx) -> Result<()> {
    let words = ["/probe", "open", "/dev/kmsg", "r", ",", "open", "/dev/kmsg", "w"];
    docker(ctx)?
        .run(&["--device", "/dev/kmsg:/dev/kmsg:r", "--cap-add", "syslog"], &words)?
        .success()?
        .out("open /dev/kmsg r: ok\nopen /dev/kmsg w: EPERM\n")?;
    Ok(())
}

fn volume(ctx: &Ctx) -> Result<()> {
    let dir = folder(ctx, "volume")?;
    std::fs::write(dir.join("file"), "from the host")?;
    let (ro, rw) = (format!("{}:/ro:ro", dir.display()), format!("{}:/rw", dir.display()));
    let words = ["/probe", "touch", "/ro/x", ",", "write", "/rw/y", "text", ",", "cat", "/ro/file"];
    docker(ctx)?
        .run(&["--volume", &ro, "--volume", &rw], &words)?
        .success()?
        .out("touch /ro/x: EROFS\nwrite /rw/y text: ok\nfrom the host")?;
    ensure!(std::fs::read_to_string(dir.join("y"))? == "text");
    Ok(())
}

fn user(ctx: &Ctx) -> Result<()> {
    let flags = ["--user", "1000:7", "--group-add", "8", "--hostname", "named", "--workdir", "/etc"];
    let seen = docker(ctx)?
        .seen(&[&flags[..], &["--ulimit", "nofile=300:400", "--sysctl", "kernel.shmmni=77"]].concat())?;
    expect(&seen, "/uid", json!([1000, 1000]))?;
    expect(&seen, "/gid", json!([7, 7]))?;
    ensure!(seen["groups"].as_array().is_some_and(|g| g.contains(&8.into())), "groups: {}", seen["groups"]);
    expect(&seen, "/hostname", "named")?;
    expect(&seen, "/cwd", "/etc")?;
    expect(&seen, "/limits/Max open files", json!(["300", "400"]))
}

fn memory(ctx: &Ctx) -> Result<()> {
    let words = ["/probe", "cat", here(ctx, MEMORY_FILES), ",", "cat", here(ctx, PIDS_FILES)];
    docker(ctx)?.run(&["--memory", "48m", "--pids-limit", "33"], &words)?.success()?.out("50331648\n33\n")?;
    Ok(())
}

fn update(ctx: &Ctx) -> Result<()> {
    let (docker, id) = (docker(ctx)?, ctx.id("update"));
    docker.waiting(&id, &["--memory", "64m", "--memory-swap", "64m"])?;
    docker.call(&["update", "--memory", "128m", "--memory-swap", "128m", &id])?.success()?;
    let limit = docker.text(&["exec", &id, "/probe", "cat", here(ctx, MEMORY_FILES)])?;
    ensure!(limit == "134217728", "the limit is {limit}");
    let stats = docker.text(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", &id])?;
    ensure!(stats.starts_with("1 ") && stats.ends_with("/ 128MiB"), "{stats:?}");
    let events = docker.text(&["inspect", "--format", "{{.HostConfig.Runtime}}", &id])?;
    ensure!(events == "subject", "{events}");
    docker.remove(&id)
}
