//! Images that lay something in the way of what the runtime writes and mounts by itself.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::console::master;
use crate::bundle::{Bundle, put};
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "escapes/proc-of-the-image-gets-no-writes",
        source: "CVE-2025-52881, CVE-2025-62596: labels, sysctls and the OOM score go through a proc of the runtime's own",
        needs: &[],
        run: bait,
    },
    Case {
        name: "escapes/a-mount-over-attr-gets-no-label",
        source: "CVE-2025-52881: a file system over /proc/self/attr",
        needs: &[Need::Root],
        run: attr_mount,
    },
    Case {
        name: "escapes/dev-console-is-a-link",
        source: "CVE-2025-52565: the terminal is bound in the root, not where a link leads",
        needs: &[],
        run: console_link,
    },
    Case {
        name: "escapes/dev-console-is-a-directory",
        source: "CVE-2025-52565; runc: an error that names /dev/console",
        needs: &[],
        run: console_directory,
    },
    Case {
        name: "mounts/dev-core-only-where-kcore-is",
        source: "runc: /dev/core is a link where there is a /proc/kcore",
        needs: &[],
        run: core,
    },
];

const BAIT: &str = "bait";

/// The image has a /proc of plain files, and nothing is mounted there; the kernel's is elsewhere, to see what really became of it.
fn bait(ctx: &Ctx) -> Result<()> {
    let words = [
        "cat",
        "/truth/self/oom_score_adj",
        ",",
        "cat",
        "/truth/sys/net/ipv4/ip_forward",
        ",",
        "write",
        "/ready",
        "",
        ",",
        "wait",
    ];
    let bundle = ctx.bundle(&words)?;
    let files = [
        "self/oom_score_adj",
        "self/attr/exec",
        "self/attr/current",
        "self/attr/keycreate",
        "self/attr/apparmor/exec",
        "self/setgroups",
        "sys/net/ipv4/ip_forward",
        "thread-self/attr/exec",
    ];
    for file in files {
        let path = bundle.root().join("proc").join(file);
        std::fs::create_dir_all(path.parent().context("a file's directory")?)?;
        std::fs::write(&path, BAIT)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    bundle.edit(|config| {
        for mount in config.pointer_mut("/mounts").and_then(Value::as_array_mut).into_iter().flatten() {
            if mount["destination"] == "/proc" {
                mount["destination"] = json!("/truth");
            }
        }
        put(config, "/linux/maskedPaths", json!([]));
        put(config, "/linux/readonlyPaths", json!([]));
        put(config, "/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        put(config, "/process/oomScoreAdj", json!(777));
    })?;
    let id = ctx.id("c");
    let mut running = ctx.rt_start(&["run", "--detach", "--bundle", bundle.path()?, &id])?;
    let ended = running.ends_within(crate::case::BOUND)?;
    ensure!(ended == Some(0), "run ended with {ended:?}: {}", running.errors_so_far()?);
    crate::process::until("the container's program has started", crate::case::BOUND, || {
        Ok(bundle.root().join("ready").exists())
    })?;
    let exec = ctx.rt(&["exec", &id, "/bin/probe", "cat", "/truth/self/oom_score_adj"])?.success()?;
    for file in files {
        let found = std::fs::read_to_string(bundle.root().join("proc").join(file))?;
        ensure!(found == BAIT, "{found:?} was written to the image's /proc/{file}");
    }
    let seen = running.so_far()?;
    ensure!(seen.starts_with("777\n1\n"), "the kernel has {seen:?}");
    ensure!(exec.out == "777\n", "the kernel has {:?} for exec", exec.out);
    Ok(())
}

/// runc allows no such mount; whoever does must write no label to it.
fn attr_mount(ctx: &Ctx) -> Result<()> {
    let bait = ctx.path("attr");
    std::fs::create_dir_all(bait.join("apparmor"))?;
    for file in ["exec", "current", "apparmor/exec"] {
        std::fs::write(bait.join(file), BAIT)?;
    }
    for place in ["/proc/self/attr", "/proc/thread-self/attr", "/proc/1/attr"] {
        let bundle = ctx.bundle_named(&place.replace('/', "-"), &["print", "it runs"])?;
        bundle.mount(json!({"destination": place, "type": "bind", "source": bait, "options": ["rbind"]}))?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?;
        ensure!(ended.code != 0, "{}", ended.unexpected("a mount inside of /proc"));
        ended.says("/proc")?;
    }
    for file in ["exec", "current", "apparmor/exec"] {
        ensure!(std::fs::read_to_string(bait.join(file))? == BAIT, "{file} was written to");
    }
    Ok(())
}

/// With the image's own /dev, and a terminal.
fn own_dev(ctx: &Ctx, words: &[&str]) -> Result<Bundle> {
    let bundle = ctx.bundle(words)?;
    std::fs::create_dir_all(bundle.root().join("dev/pts"))?;
    bundle.edit(|config| {
        if let Some(mounts) = config.pointer_mut("/mounts").and_then(Value::as_array_mut) {
            mounts.retain(|mount| mount["destination"] != "/dev");
        }
        put(config, "/process/terminal", json!(true));
    })?;
    Ok(bundle)
}

fn console_link(ctx: &Ctx) -> Result<()> {
    let outside = ctx.path("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("file"), BAIT)?;
    for (name, target) in [("there", outside.join("file")), ("new", outside.join("new"))] {
        let bundle = own_dev(ctx, &["write", "/ready", "", ",", "wait"])?;
        symlink(&target, bundle.root().join("dev/console"))?;
        let id = ctx.id(name);
        let _master = master(ctx, &["create", "--bundle", bundle.path()?], &[&id]);
        let mounted = std::fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(
            !mounted.contains(outside.to_str().context("a text")?),
            "the terminal is mounted on the host"
        );
        ensure!(std::fs::read_to_string(outside.join("file"))? == BAIT, "a file of the host was changed");
        ensure!(!outside.join("new").exists(), "a file was made on the host");
        let _ended = ctx.rt(&["delete", "--force", &id])?;
        std::fs::remove_dir_all(bundle.dir())?;
    }
    Ok(())
}

fn console_directory(ctx: &Ctx) -> Result<()> {
    let bundle = own_dev(ctx, &["print", "it runs"])?;
    std::fs::create_dir(bundle.root().join("dev/console"))?;
    let id = ctx.id("c");
    let short = tempfile::Builder::new().prefix("cc.").tempdir_in("/tmp")?;
    let socket = short.path().join("s");
    // Nobody need take what comes: it waits in the socket.
    let _listener = std::os::unix::net::UnixListener::bind(&socket)?;
    let socket = socket.to_str().context("a text")?;
    let ended = ctx.rt(&["create", "--bundle", bundle.path()?, "--console-socket", socket, &id])?;
    ended.failure()?.says("/dev/console")?;
    ensure!(ctx.rt(&["state", &id])?.code != 0, "a container was left");
    Ok(())
}

fn core(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["readlink", "/dev/core"])?;
    let expected = match Path::new("/proc/kcore").exists() {
        true => "readlink /dev/core: /proc/kcore\n",
        false => "readlink /dev/core: ENOENT\n",
    };
    let seen = ctx.output(&bundle)?;
    ensure!(seen == expected, "{seen}");
    Ok(())
}
