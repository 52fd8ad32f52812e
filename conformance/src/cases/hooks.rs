//! Hooks: all six, in order, with the state on standard input; failing and hanging ones.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "hooks/in-order-with-the-state",
        source: "runtime-spec config.md#posix-platform-hooks",
        needs: &[],
        run: in_order,
    },
    Case {
        name: "hooks/start-container-runs-inside",
        source: "runtime-spec config.md#startcontainer-hooks",
        needs: &[],
        run: inside,
    },
    Case {
        name: "hooks/create-container-begins-in-the-root",
        source: "runc: createContainer hooks use relative paths (hooks_so.bats)",
        needs: &[],
        run: in_the_root,
    },
    Case {
        name: "hooks/see-the-mounts-of-the-container",
        source: "runc: prestart and createRuntime hooks run after the mounts, and find them below the root's path (Docker --gpus)",
        needs: &[Need::Root, Need::Program("nsenter")],
        run: among_mounts,
    },
    Case {
        name: "hooks/environment-is-the-hooks-own",
        source: "runtime-spec config.md: hook env",
        needs: &[],
        run: environment,
    },
    Case {
        name: "hooks/create-container-gets-nothing-of-the-images",
        source: "facts/security: CVE-2025-23266",
        needs: &[],
        run: nothing_of_the_images,
    },
    Case {
        name: "hooks/without-env-the-hosts-have-the-callers",
        source: "runc: a hook that has no env inherits runc's",
        needs: &[],
        run: the_callers,
    },
    Case {
        name: "hooks/a-failing-one-ends-the-start",
        source: "runc: error running <hook> hook #N",
        needs: &[],
        run: failing,
    },
    Case {
        name: "hooks/a-missing-program",
        source: "facts/security: missing hook",
        needs: &[],
        run: missing,
    },
    Case {
        name: "hooks/a-hanging-one-is-stopped",
        source: "runtime-spec config.md: hook timeout",
        needs: &[],
        run: hanging,
    },
];

/// A script on the host that appends its name and what the state says to a log.
fn script(ctx: &Ctx, body: &str) -> Result<PathBuf> {
    let path = ctx.path("hook.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn in_the_root(ctx: &Ctx) -> Result<()> {
    let hook = script(ctx, "echo here >./made-by-a-hook")?;
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.set("/hooks", json!({"createContainer": [{"path": hook}]}))?;
    ctx.run(&bundle, &ctx.id("c"))?.code(0)?;
    let made = std::fs::read_to_string(bundle.root().join("made-by-a-hook"))?;
    ensure!(made == "here\n", "the hook wrote {made:?}");
    Ok(())
}

/// What a hook binds into the container's /dev, from within its mount namespace, is there when its program runs.
fn among_mounts(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("bound");
    std::fs::write(&source, "by a hook\n")?;
    let enter =
        "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); exec nsenter --mount=/proc/$pid/ns/mnt";
    for (moment, enter) in [("prestart", enter), ("createRuntime", enter), ("createContainer", "exec")] {
        for propagation in ["rprivate", "rslave", "rshared"] {
            let name = format!("{moment}-{propagation}");
            let bundle = ctx.bundle_named(&name, &["cat", "/dev/bound"])?;
            let (from, to) = (source.display(), bundle.root().join("dev/bound"));
            let mount = format!("touch {to} && mount --bind {from} {to}", to = to.display());
            let hook = script(ctx, &format!("PATH=/usr/sbin:/usr/bin:/sbin:/bin\n{enter} sh -c '{mount}'"))?;
            bundle.set("/hooks", json!({moment: [{"path": hook}]}))?;
            bundle.set("/linux/rootfsPropagation", json!(propagation))?;
            let ended = ctx.run(&bundle, &ctx.id(&name))?;
            ended.success().with_context(|| name.clone())?.out("by a hook\n").with_context(|| name)?;
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let left = mounts.lines().find(|line| line.contains(&*ctx.dir.to_string_lossy()));
    ensure!(left.is_none(), "a mount has stayed on the host: {left:?}");
    Ok(())
}

fn in_order(ctx: &Ctx) -> Result<()> {
    let log = ctx.path("log");
    let body = format!(
        "state=$(cat); echo \"$1 $(echo \"$state\" | grep -o '\"status\":[ ]*\"[a-z]*\"' | tr -d ' ')\" >>{}",
        log.display()
    );
    let hook = script(ctx, &body)?;
    let bundle = ctx.bundle(&["exit", "0"])?;
    let one = |name: &str| json!([{"path": hook, "args": ["hook", name], "env": ["PATH=/usr/bin:/bin"]}]);
    bundle.set("/hooks", json!({
        "prestart": one("prestart"), "createRuntime": one("createRuntime"), "createContainer": one("createContainer"),
        "poststart": one("poststart"), "poststop": one("poststop"),
    }))?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    ctx.rt(&["start", &id])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ctx.rt(&["delete", &id])?.success()?;
    let seen = std::fs::read_to_string(&log)?;
    let names: Vec<&str> = seen.lines().filter_map(|l| l.split(' ').next()).collect();
    ensure!(names == ["prestart", "createRuntime", "createContainer", "poststart", "poststop"], "{seen}");
    let status =
        |name: &str| seen.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    ensure!(status("poststop ") == "\"status\":\"stopped\"", "poststop: {}", status("poststop "));
    Ok(())
}

fn inside(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["cat", "/tmp/hook"])?;
    bundle.set("/hooks", json!({"startContainer": [{"path": "/probe", "args": ["probe", "write", "/tmp/hook", "from inside\n"]}]}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen.ends_with("from inside\n"), "{seen}");
    Ok(())
}

fn environment(ctx: &Ctx) -> Result<()> {
    let log = ctx.path("env");
    let hook = script(ctx, &format!("cat >/dev/null; /usr/bin/env >{}", log.display()))?;
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.set("/hooks", json!({"createRuntime": [{"path": hook, "env": ["ONLY=this"]}]}))?;
    ctx.run(&bundle, &ctx.id("c"))?.success()?;
    let seen = std::fs::read_to_string(&log)?;
    ensure!(seen.lines().any(|l| l == "ONLY=this"), "{seen}");
    ensure!(!seen.contains("HOME="), "the caller's environment leaks in: {seen}");
    Ok(())
}

/// What a hook without an environment of its own sees, and the mask that its files are made with.
fn seen(ctx: &Ctx, moment: &str) -> Result<(String, String)> {
    let log = ctx.path("env");
    let hook = script(ctx, &format!("cat >/dev/null; umask >{0}; /usr/bin/env >>{0}", log.display()))?;
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.set("/process/env", json!(["PATH=/", "FROM_THE_IMAGE=yes"]))?;
    bundle.set("/hooks", json!({moment: [{"path": hook}]}))?;
    ctx.run(&bundle, &ctx.id("c"))?.success()?;
    let text = std::fs::read_to_string(log)?;
    let (mask, rest) = text.split_once('\n').context("read the mask")?;
    Ok((mask.to_owned(), rest.to_owned()))
}

fn nothing_of_the_images(ctx: &Ctx) -> Result<()> {
    let (mask, environment) = seen(ctx, "createContainer")?;
    ensure!(!environment.contains("FROM_THE_IMAGE"), "the image's environment is the hook's: {environment}");
    let own = process::run(std::process::Command::new("sh").args(["-c", "umask"]), BOUND)?.success()?;
    ensure!(mask == own.out.trim(), "the hook's umask is {mask}, the caller's {}", own.out);
    Ok(())
}

fn the_callers(ctx: &Ctx) -> Result<()> {
    let (_, environment) = seen(ctx, "createRuntime")?;
    let path = format!("PATH={}", std::env::var("PATH").context("read PATH")?);
    ensure!(environment.lines().any(|line| line == path), "no {path} in {environment}");
    Ok(())
}

fn failing(ctx: &Ctx) -> Result<()> {
    let hook = script(ctx, "cat >/dev/null; echo a reason >&2; exit 3")?;
    for (name, command) in [
        ("prestart", "prestart hook #0"),
        ("createRuntime", "createRuntime hook #0"),
        ("createContainer", "createContainer hook #0"),
    ] {
        let bundle = ctx.bundle_named(name, &["print", "ran"])?;
        bundle.set("/hooks", json!({name: [{"path": hook}]}))?;
        let ended = ctx.run(&bundle, &ctx.id(name))?.failure()?.out("")?;
        ended.says(&format!("error running {command}"))?;
    }
    Ok(())
}

fn missing(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "ran"])?;
    bundle.set("/hooks", json!({"createRuntime": [{"path": "/no/such/hook"}]}))?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.out("")?.says("/no/such/hook")?;
    Ok(())
}

fn hanging(ctx: &Ctx) -> Result<()> {
    let hook = script(ctx, "cat >/dev/null; exec sleep 600")?;
    let bundle = ctx.bundle(&["print", "ran"])?;
    bundle.set(
        "/hooks",
        Value::Object(
            [("createRuntime".to_owned(), json!([{"path": hook, "timeout": 1}]))].into_iter().collect(),
        ),
    )?;
    // A runtime that waits for the hook's own end is hung by the measure of this harness.
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.out("")?;
    Ok(())
}
