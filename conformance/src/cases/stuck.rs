//! Creations and starts that hang: `delete --force` is how engines get rid of such a container, and waits for nobody.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Running};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "stuck/delete-force-during-a-hook-of-the-hosts",
        source: "runc delete --force: at once; kubelet and containerd clean up a failed creation with it",
        needs: &[],
        run: |ctx| creating(ctx, "createRuntime"),
    },
    Case {
        name: "stuck/delete-force-during-a-hook-of-the-containers",
        source: "runc delete --force: at once",
        needs: &[],
        run: |ctx| creating(ctx, "createContainer"),
    },
    Case {
        name: "stuck/delete-force-during-a-hook-before-the-program",
        source: "runc delete --force: at once; a startContainer hook is a program of the container",
        needs: &[],
        run: |ctx| starting(ctx, "startContainer"),
    },
    Case {
        name: "stuck/delete-force-during-a-hook-after-the-start",
        source: "runc delete --force: at once",
        needs: &[],
        run: |ctx| starting(ctx, "poststart"),
    },
    Case {
        name: "stuck/a-restored-container-that-is-killed-before-criu-has-ended",
        source: "runc restore; delete --force",
        needs: &[Need::Root, Need::Criu],
        run: restoring,
    },
];

/// Far less than `BOUND`: what engines grant.
const SOON: Duration = Duration::from_secs(20);

/// What the case's hook says when it hangs: it makes a file, in the container's root for the container's own.
fn hang(ctx: &Ctx, moment: &str) -> Result<(serde_json::Value, std::path::PathBuf)> {
    let bundle = ctx.path("bundle");
    let is_inside = moment == "startContainer";
    let seen = if is_inside { bundle.join("rootfs/hangs") } else { ctx.path("hangs") };
    let file = if is_inside { "/hangs".to_owned() } else { seen.to_string_lossy().into_owned() };
    let probe = if is_inside { "/probe".into() } else { ctx.binaries.join("probe") };
    Ok((json!({moment: [{"path": probe, "args": ["probe", "write", file, "", ",", "stop"]}]}), seen))
}

fn until_it_hangs(seen: &std::path::Path) -> Result<()> {
    process::until("the hook hangs", BOUND, || Ok(seen.exists()))
}

fn ended(ctx: &Ctx, id: &str, mut hung: Running) -> Result<()> {
    let mut deleting = ctx.rt_start(&["delete", "--force", id])?;
    let code = deleting.ends_within(SOON)?.with_context(|| format!("delete --force takes over {SOON:?}"))?;
    ensure!(code == 0, "delete --force: {code}, {}", deleting.errors_so_far()?);
    ctx.rt(&["state", id])?.failure()?;
    // Its creator goes with it, or hears of it; a hook that runs on is nobody's business but its timeout's.
    let _ended = hung.ends_within(Duration::from_secs(1))?;
    Ok(())
}

fn creating(ctx: &Ctx, moment: &str) -> Result<()> {
    let (hooks, seen) = hang(ctx, moment)?;
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.set("/hooks", hooks)?;
    let id = ctx.id("c");
    let hung = ctx.rt_start(&["create", "--bundle", bundle.path()?, &id])?;
    until_it_hangs(&seen)?;
    ended(ctx, &id, hung)?;
    // The name is free.
    let other = ctx.bundle_named("other", &["exit", "3"])?;
    ctx.run(&other, &id)?.code(3).map(drop)
}

fn starting(ctx: &Ctx, moment: &str) -> Result<()> {
    let (hooks, seen) = hang(ctx, moment)?;
    let bundle = ctx.bundle(&["stop"])?;
    bundle.set("/hooks", hooks)?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    let hung = ctx.rt_start(&["start", &id])?;
    until_it_hangs(&seen)?;
    ended(ctx, &id, hung)
}

/// With pipes as its streams, which CRIU takes along, and the ends that must stay open meanwhile.
fn piped(ctx: &Ctx, words: &[&str]) -> Result<(Child, PipeReader, PipeWriter)> {
    let (input, keep) = std::io::pipe()?;
    let (output, ours) = std::io::pipe()?;
    let mut command = ctx.runtime();
    command.args(words).stdin(input).stdout(ours.try_clone()?).stderr(ours);
    Ok((process::spawn(&mut command)?, output, keep))
}

/// CRIU waits for what has ended; `restore` and `delete` do not.
fn restoring(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    let (id, images) = (ctx.id("c"), ctx.path("images").to_string_lossy().into_owned());
    let (mut run, _output, _input) = piped(ctx, &["run", "--detach", "--bundle", bundle.path()?, &id])?;
    process::until("the program waits", BOUND, || Ok(bundle.root().join("ready").exists()))?;
    ensure!(run.wait()?.success(), "run failed");
    let common = ["--image-path", &images, "--manage-cgroups-mode", "ignore"];
    ctx.rt(&[&["checkpoint"], &common[..], &[&id]].concat())?.success()?;
    for moment in [0, 50, 100, 200].map(Duration::from_millis) {
        let words = [&["restore"], &common[..], &["--bundle", bundle.path()?, &id]].concat();
        let (mut restored, output, _input) = piped(ctx, &words)?;
        process::until("the container is on record again", BOUND, || {
            if let Some(status) = restored.try_wait()? {
                bail!("restore gave {status}");
            }
            let ended = ctx.rt(&["state", &id])?;
            Ok(ended.code == 0 && ended.out.contains("\"running\""))
        })?;
        // Nothing comes: it waits for the moment.
        let _silent = process::readable(output.as_fd(), moment)?;
        let _killed = ctx.rt(&["kill", &id, "KILL"])?;
        let what = format!("restore ends, its container killed after {moment:?}");
        let ended = process::until(&what, BOUND, || Ok(restored.try_wait()?.is_some()));
        restored.kill()?;
        ended?;
        ctx.rt(&["delete", "--force", &id])?.success()?;
        ctx.rt(&["state", &id])?.failure()?;
    }
    Ok(())
}
