//! What podman's flags make of a container: identity, rights, mounts, devices, limits. One flag, one claim.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{CONMON, PODMAN, podman};
use crate::case::{Case, Ctx};
use crate::engines::engine::{
    Cli, IMAGE, MEMORY_FILES, PIDS_FILES, expect, folder, here, init, own_namespace,
};
use crate::needs::Need;

const NEEDS: &[Need] = &[PODMAN, CONMON, Need::UserIds];
const MEMORY: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::Managed("memory")];
const PIDS: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::Managed("pids")];
const ROOT: &[Need] = &[PODMAN, CONMON, Need::Root];
const USER: &[Need] = &[PODMAN, CONMON, Need::UserIds, Need::OrdinaryUser];

const fn flag(name: &'static str, needs: &'static [Need], run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, source: "podman-run(1), the flag of that name", needs, run }
}

pub(in crate::engines) const CASES: &[Case] = &[
    flag("engines/podman-init", NEEDS, with_init),
    flag("engines/podman-pid-host", NEEDS, pid_host),
    flag("engines/podman-pid-container", NEEDS, pid_container),
    flag("engines/podman-namespaces-of-the-host", NEEDS, host_namespaces),
    flag("engines/podman-privileged", NEEDS, privileged),
    flag("engines/podman-read-only", NEEDS, read_only),
    flag("engines/podman-tmpfs", NEEDS, tmpfs),
    flag("engines/podman-volume", NEEDS, volume),
    flag("engines/podman-mount-image-and-overlay", NEEDS, overlays),
    flag("engines/podman-mount-propagation", ROOT, propagation),
    flag("engines/podman-cap-drop-and-add", NEEDS, caps),
    flag("engines/podman-security-opt-seccomp", NEEDS, seccomp),
    flag("engines/podman-security-opt-no-new-privileges", NEEDS, no_new_privileges),
    flag("engines/podman-security-opt-mask", NEEDS, mask),
    flag("engines/podman-device", NEEDS, device),
    flag("engines/podman-device-cgroup", ROOT, device_rights),
    flag("engines/podman-memory", MEMORY, memory),
    flag("engines/podman-pids-limit", PIDS, pids),
    flag("engines/podman-ulimit-and-umask", NEEDS, ulimit),
    flag("engines/podman-sysctl", NEEDS, sysctl),
    flag("engines/podman-user-and-groups", NEEDS, user),
    flag("engines/podman-userns-keep-id", USER, keep_id),
    flag("engines/podman-userns-auto-map", ROOT, mapped),
    flag("engines/podman-cgroups-disabled", NEEDS, cgroups_disabled),
    flag("engines/podman-systemd-always", NEEDS, systemd),
];

fn with_init(ctx: &Ctx) -> Result<()> {
    let init = init()?;
    let seen = podman(ctx)?.seen(&["--init", "--init-path", &init])?;
    expect(&seen, "/ppid", 1)?;
    // It reaps what others leave, and passes the code on.
    podman(ctx)?
        .run(&["--init", "--init-path", &init], &["/probe", "orphan", "0", ",", "exit", "7"])?
        .code(7)?;
    Ok(())
}

fn pid_host(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    expect(&podman.seen(&["--pid", "host"])?, "/namespaces/pid", own_namespace("pid")?)?;
    // Without a pid namespace nothing but the runtime's kill ends what is left.
    let id = ctx.id("pidhost");
    podman.waiting(&id, &["--pid", "host"])?;
    podman.inside(&id, &["print", "x"])?.success()?.out("x\n")?;
    podman.remove(&id)
}

fn pid_container(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("first"));
    podman.waiting(&id, &[])?;
    let joined = podman.seen(&["--pid", &format!("container:{id}"), "--ipc", &format!("container:{id}")]);
    let first: Value = serde_json::from_str(&podman.inside(&id, &["show"])?.success()?.out)?;
    podman.remove(&id)?;
    let joined = joined?;
    for kind in ["pid", "ipc"] {
        let at = format!("/namespaces/{kind}");
        expect(&joined, &at, first.pointer(&at).cloned().context("its namespace")?)?;
    }
    Ok(())
}

fn host_namespaces(ctx: &Ctx) -> Result<()> {
    let mut flags = vec!["--uts", "host", "--cgroupns", "host"];
    let mut kinds = vec!["uts", "cgroup"];
    // A rootless podman binds the host's message queues, and stops where there are none.
    if ctx.host.root || std::path::Path::new("/dev/mqueue").exists() {
        flags.extend(["--ipc", "host"]);
        kinds.push("ipc");
    }
    let seen = podman(ctx)?.seen(&flags)?;
    for kind in kinds {
        expect(&seen, &format!("/namespaces/{kind}"), own_namespace(kind)?)?;
    }
    Ok(())
}

fn privileged(ctx: &Ctx) -> Result<()> {
    let seen = podman(ctx)?.seen(&["--privileged"])?;
    expect(&seen, "/status/Seccomp", "0")?;
    let mounts = seen["mounts"].as_array().context("mounts")?;
    let sys = mounts.iter().find(|m| m["at"] == "/sys").context("find /sys")?;
    ensure!(!sys["flags"].as_array().is_some_and(|f| f.contains(&"ro".into())), "/sys: {sys}");
    ensure!(!mounts.iter().any(|m| m["at"] == "/proc/kcore"), "/proc/kcore is masked");
    podman(ctx)?
        .run(&["--privileged"], &["/probe", "mount", "t", "/etc", "tmpfs", "-"])?
        .success()?
        .out("mount t /etc tmpfs -: ok\n")?;
    Ok(())
}

fn read_only(ctx: &Ctx) -> Result<()> {
    let words = ["/probe", "touch", "/x", ",", "touch", "/tmp/x", ",", "touch", "/dev/shm/x"];
    let out = "touch /x: EROFS\ntouch /tmp/x: ok\ntouch /dev/shm/x: ok\n";
    podman(ctx)?.run(&["--read-only"], &words)?.success()?.out(out)?;
    Ok(())
}

fn tmpfs(ctx: &Ctx) -> Result<()> {
    let seen = podman(ctx)?.seen(&["--tmpfs", "/deep/in:size=1m,mode=1770"])?;
    let mounts = seen["mounts"].as_array().context("mounts")?;
    let found = mounts.iter().find(|m| m["at"] == "/deep/in").context("find the tmpfs")?;
    expect(found, "/type", "tmpfs")?;
    let options = found["super"].to_string();
    ensure!(options.contains("size=1024k") && options.contains("mode=1770"), "{options}");
    Ok(())
}

fn volume(ctx: &Ctx) -> Result<()> {
    let (podman, dir) = (podman(ctx)?, folder(ctx, "volume")?);
    std::fs::write(dir.join("file"), "from the host")?;
    let (ro, rw) = (format!("{}:/ro:ro", dir.display()), format!("{}:/rw", dir.display()));
    let words = ["/probe", "touch", "/ro/x", ",", "write", "/rw/y", "text", ",", "cat", "/ro/file"];
    podman
        .run(&["--volume", &ro, "--volume", &rw, "--volume", "/anonymous"], &words)?
        .success()?
        .out("touch /ro/x: EROFS\nwrite /rw/y text: ok\nfrom the host")?;
    ensure!(std::fs::read_to_string(dir.join("y"))? == "text");
    Ok(())
}

/// podman leaves both to the runtime, as overlays over directories of its store.
fn overlays(ctx: &Ctx) -> Result<()> {
    let (podman, dir) = (podman(ctx)?, folder(ctx, "below")?);
    std::fs::write(dir.join("file"), "from the host")?;
    let (image, volume) =
        (format!("type=image,src={IMAGE},dst=/image"), format!("{}:/over:O", dir.display()));
    let words = ["/probe", "touch", "/image/x", ",", "write", "/over/file", "text", ",", "cat", "/over/file"];
    podman
        .run(&["--mount", &image, "--volume", &volume], &words)?
        .success()?
        .out("touch /image/x: EROFS\nwrite /over/file text: ok\ntext")?;
    ensure!(std::fs::read_to_string(dir.join("file"))? == "from the host");
    Ok(())
}

fn propagation(ctx: &Ctx) -> Result<()> {
    let dir = folder(ctx, "shared")?;
    let shared = format!("{}:/shared:rslave", dir.display());
    let seen = podman(ctx)?.seen(&[
        "--volume",
        &shared,
        "--volume",
        &format!("{}:/private:rprivate", dir.display()),
    ])?;
    let mounts = seen["mounts"].as_array().context("mounts")?;
    let private = mounts.iter().find(|m| m["at"] == "/private").context("find /private")?;
    ensure!(private["propagation"] == serde_json::json!([]), "{private}");
    ensure!(mounts.iter().any(|m| m["at"] == "/shared"), "no /shared");
    Ok(())
}

fn caps(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    let seen = podman.seen(&["--cap-drop", "all"])?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        expect(&seen, &format!("/status/{set}"), "0000000000000000")?;
    }
    let seen = podman.seen(&["--cap-drop", "all", "--cap-add", "sys_admin,net_raw"])?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        expect(&seen, &format!("/status/{set}"), "0000000000202000")?;
    }
    Ok(())
}

fn seccomp(ctx: &Ctx) -> Result<()> {
    let profile = ctx.path("seccomp.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 85}]}"#;
    std::fs::write(&profile, text)?;
    let flag = format!("seccomp={}", profile.display());
    let words = ["/probe", "mkdir", "/x", ",", "touch", "/y"];
    podman(ctx)?
        .run(&["--security-opt", &flag], &words)?
        .success()?
        .out("mkdir /x: ERESTART\ntouch /y: ok\n")?;
    expect(&podman(ctx)?.seen(&["--security-opt", "seccomp=unconfined"])?, "/status/Seccomp", "0")?;
    expect(&podman(ctx)?.seen(&[])?, "/status/Seccomp", "2")
}

fn no_new_privileges(ctx: &Ctx) -> Result<()> {
    expect(&podman(ctx)?.seen(&["--security-opt", "no-new-privileges"])?, "/status/NoNewPrivs", "1")?;
    expect(&podman(ctx)?.seen(&[])?, "/status/NoNewPrivs", "0")
}

fn mask(ctx: &Ctx) -> Result<()> {
    let podman = podman(ctx)?;
    let words = ["/probe", "cat", "/etc/passwd", ",", "list", "/proc/fs", ",", "print", "end"];
    podman.run(&["--security-opt", "mask=/etc/passwd:/proc/fs"], &words)?.success()?.out("\nend\n")?;
    let unmasked = podman.seen(&["--security-opt", "unmask=ALL"])?;
    let mounts = unmasked["mounts"].as_array().context("mounts")?;
    ensure!(
        !mounts.iter().any(|m| m["at"].as_str().is_some_and(|at| at.starts_with("/proc/"))),
        "{mounts:?}"
    );
    Ok(())
}

fn device(ctx: &Ctx) -> Result<()> {
    let words = ["/probe", "open", "/dev/mine", "r", ",", "open", "/dev/mine", "w"];
    podman(ctx)?
        .run(&["--device", "/dev/null:/dev/mine"], &words)?
        .success()?
        .out("open /dev/mine r: ok\nopen /dev/mine w: ok\n")?;
    Ok(())
}

/// /dev/kmsg may be opened by root and is not in the default rules.
fn device_rights(ctx: &Ctx) -> Result<()> {
    let words = ["/probe", "open", "/dev/kmsg", "r", ",", "open", "/dev/kmsg", "w"];
    podman(ctx)?
        .run(&["--device", "/dev/kmsg:/dev/kmsg:r", "--cap-add", "syslog"], &words)?
        .success()?
        .out("open /dev/kmsg r: ok\nopen /dev/kmsg w: EPERM\n")?;
    Ok(())
}

fn memory(ctx: &Ctx) -> Result<()> {
    let file = here(ctx, MEMORY_FILES);
    podman(ctx)?.run(&["--memory", "48m"], &["/probe", "cat", file])?.success()?.out("50331648\n")?;
    Ok(())
}

fn pids(ctx: &Ctx) -> Result<()> {
    let file = here(ctx, PIDS_FILES);
    podman(ctx)?.run(&["--pids-limit", "33"], &["/probe", "cat", file])?.success()?.out("33\n")?;
    Ok(())
}

fn ulimit(ctx: &Ctx) -> Result<()> {
    let seen = podman(ctx)?.seen(&[
        "--ulimit",
        "nofile=300:400",
        "--ulimit",
        "core=0",
        "--ulimit",
        "nproc=1024:1024",
        "--umask",
        "0027",
    ])?;
    expect(&seen, "/limits/Max open files", serde_json::json!(["300", "400"]))?;
    expect(&seen, "/limits/Max core file size", serde_json::json!(["0", "0"]))?;
    expect(&seen, "/umask", "0027")
}

fn sysctl(ctx: &Ctx) -> Result<()> {
    let words = ["/probe", "cat", "/proc/sys/kernel/shmmni", ",", "cat", "/proc/sys/net/ipv4/ip_default_ttl"];
    podman(ctx)?
        .run(&["--sysctl", "kernel.shmmni=77", "--sysctl", "net.ipv4.ip_default_ttl=55"], &words)?
        .success()?
        .out("77\n55\n")?;
    Ok(())
}

fn user(ctx: &Ctx) -> Result<()> {
    let seen = podman(ctx)?.seen(&[
        "--user",
        "1000:7",
        "--group-add",
        "8",
        "--hostname",
        "named",
        "--workdir",
        "/etc",
    ])?;
    expect(&seen, "/uid", serde_json::json!([1000, 1000]))?;
    expect(&seen, "/gid", serde_json::json!([7, 7]))?;
    ensure!(seen["groups"].as_array().is_some_and(|g| g.contains(&8.into())), "groups: {}", seen["groups"]);
    expect(&seen, "/hostname", "named")?;
    expect(&seen, "/cwd", "/etc")
}

fn keep_id(ctx: &Ctx) -> Result<()> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let dir = folder(ctx, "mine")?;
    let volume = format!("{}:/mine", dir.display());
    let seen = podman(ctx)?.seen(&["--userns", "keep-id"])?;
    expect(&seen, "/uid/0", uid)?;
    expect(&seen, "/gid/0", gid)?;
    podman(ctx)?
        .run(&["--userns", "keep-id", "--volume", &volume], &["/probe", "touch", "/mine/x"])?
        .success()?;
    ensure!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.join("x"))?) == uid, "another's file");
    Ok(())
}

fn mapped(ctx: &Ctx) -> Result<()> {
    let flags = ["--uidmap", "0:200000:65536", "--gidmap", "0:300000:65536"];
    let seen = podman(ctx)?.seen(&flags)?;
    expect(&seen, "/uid_map/0", "0 200000 65536")?;
    expect(&seen, "/gid_map/0", "0 300000 65536")?;
    podman(ctx)?.run(&flags, &["/probe", "touch", "/x", ",", "stat", "/probe"])?.success()?.says("")?;
    Ok(())
}

fn cgroups_disabled(ctx: &Ctx) -> Result<()> {
    let (podman, id) = (podman(ctx)?, ctx.id("nocg"));
    podman.waiting(&id, &["--cgroups", "disabled"])?;
    podman.inside(&id, &["print", "x"])?.success()?.out("x\n")?;
    podman.call(&["stop", "--time", "60", &id])?.success()?;
    podman.call(&["rm", &id])?.success()?;
    Ok(())
}

/// podman's mounts for a systemd inside: tmpfs on /run, /run/lock, /tmp, and a cgroup tree that may be written to.
fn systemd(ctx: &Ctx) -> Result<()> {
    let seen = podman(ctx)?.seen(&["--systemd", "always"])?;
    let mounts = seen["mounts"].as_array().context("mounts")?;
    for at in ["/run", "/run/lock", "/tmp"] {
        let found = mounts.iter().find(|m| m["at"] == at).with_context(|| format!("find {at}"))?;
        expect(found, "/type", "tmpfs")?;
    }
    ensure!(
        mounts.iter().any(|m| m["at"].as_str().is_some_and(|at| at.starts_with("/sys/fs/cgroup"))),
        "no cgroups"
    );
    Ok(())
}
