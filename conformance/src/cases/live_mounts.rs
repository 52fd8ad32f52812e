//! Mounts that a running container gets and loses: crun's `mounts add` and `mounts remove`.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "live-mounts/come-and-go",
        source: "crun mounts add, crun mounts remove",
        needs: &[Need::Root],
        run: come_and_go,
    },
    Case {
        name: "live-mounts/a-proc-is-the-containers",
        source: "crun mounts add; a proc of the host would show its processes",
        needs: &[Need::Root],
        run: own_proc,
    },
    Case {
        name: "live-mounts/a-link-leads-nowhere-else",
        source: "runtime-spec config.md#mounts; CVE-2021-30465",
        needs: &[Need::Root],
        run: link,
    },
    Case {
        name: "live-mounts/a-link-takes-no-protection-away",
        source: "crun mounts remove; the container owns the way to what was mounted (CVE-2021-30465's shape)",
        needs: &[Need::Root],
        run: link_to_a_protection,
    },
    Case {
        name: "live-mounts/what-is-no-mount-is-refused",
        source: "crun mounts add, crun mounts remove",
        needs: &[Need::Root],
        run: refused,
    },
];

fn change(ctx: &Ctx, deed: &str, id: &str, mounts: &Value) -> Result<crate::process::Ended> {
    let file = ctx.path(format!("{deed}.json"));
    std::fs::write(&file, mounts.to_string())?;
    ctx.rt(&["mounts", deed, id, &file.to_string_lossy()])
}

fn inside(ctx: &Ctx, id: &str, words: &[&str]) -> Result<String> {
    Ok(ctx.rt(&[&["exec", id, "/probe"], words].concat())?.success()?.out)
}

fn come_and_go(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let source = ctx.path("source");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("file"), "content\n")?;
    let mounts = json!([
        {"destination": "/new/bind", "type": "bind", "source": source, "options": ["bind", "ro"]},
        {"destination": "/new/one", "type": "bind", "source": source.join("file"), "options": ["bind"]},
        {"destination": "/new/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
    ]);
    change(ctx, "add", &id, &mounts)?.success()?;
    let seen =
        inside(ctx, &id, &["cat", "/new/bind/file", ",", "cat", "/new/one", ",", "touch", "/new/bind/x"])?;
    ensure!(seen == "content\ncontent\ntouch /new/bind/x: EROFS\n", "{seen:?}");
    let seen = inside(ctx, &id, &["touch", "/new/tmp/x", ",", "list", "/new/tmp"])?;
    ensure!(seen == "touch /new/tmp/x: ok\nx\n", "{seen:?}");
    change(ctx, "remove", &id, &mounts)?.success()?;
    let seen = inside(ctx, &id, &["list", "/new/bind", ",", "cat", "/new/one", ",", "list", "/new/tmp"])?;
    ensure!(seen == "\n\n", "{seen:?}");
    ensure!(std::fs::read_to_string(source.join("file"))? == "content\n", "the source has changed");
    Ok(())
}

fn own_proc(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    change(ctx, "add", &id, &json!([{"destination": "/p", "type": "proc", "source": "proc"}]))?.success()?;
    let seen = inside(ctx, &id, &["readlink", "/p/1/exe"])?;
    ensure!(seen == "readlink /p/1/exe: /probe\n", "{seen:?}");
    Ok(())
}

fn link(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle_named("b", &["write", "/ready", "", ",", "wait"])?;
    let outside = ctx.path("outside");
    std::fs::create_dir(&outside)?;
    std::os::unix::fs::symlink(format!("/../../..{}", outside.display()), bundle.root().join("link"))?;
    let id = ctx.detached(&bundle, "c")?;
    let mount = json!([{"destination": "/link/x", "type": "tmpfs", "source": "tmpfs"}]);
    change(ctx, "add", &id, &mount)?.success()?;
    ensure!(std::fs::read_dir(&outside)?.next().is_none(), "something was made outside of the container");
    let seen = inside(ctx, &id, &["list", &format!("{}/x", outside.display())])?;
    ensure!(seen == "\n", "{seen:?}");
    Ok(())
}

/// A directory above a mount can be renamed by the container, and a link to a read-only path put in its place.
fn link_to_a_protection(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle_named("b", &["write", "/ready", "", ",", "wait"])?;
    bundle.edit(|spec| spec["linux"]["readonlyPaths"] = json!(["/proc/sys"]))?;
    let id = ctx.detached(&bundle, "c")?;
    let mount = json!([{"destination": "/way/sys", "type": "tmpfs", "source": "tmpfs"}]);
    change(ctx, "add", &id, &mount)?.success()?;
    let root = bundle.root();
    std::fs::rename(root.join("way"), root.join("elsewhere"))?;
    std::fs::create_dir(root.join("way"))?;
    std::os::unix::fs::symlink("/proc/sys", root.join("way/sys"))?;
    change(ctx, "remove", &id, &mount)?.failure()?.says("a link on the way")?;
    let mounts = inside(ctx, &id, &["cat", "/proc/self/mountinfo"])?;
    let there = |place: &str| mounts.lines().any(|line| line.split(' ').nth(4) == Some(place));
    ensure!(there("/proc/sys") && there("/elsewhere/sys"), "{mounts}");
    Ok(())
}

fn refused(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let not_there = json!([{"destination": "/bin"}]);
    change(ctx, "remove", &id, &not_there)?.failure()?.says("nvalid argument")?;
    let no_source =
        json!([{"destination": "/x", "type": "bind", "source": "/nonexistent", "options": ["bind"]}]);
    change(ctx, "add", &id, &no_source)?.failure()?.says("o such file or directory")?;
    change(ctx, "add", &id, &json!({}))?.failure()?;
    ctx.rt(&["mounts", "shake", &id, "/dev/null"])?.failure()?.says("unknown command")?;
    ensure!(ctx.state(&id)?["status"] == "running", "the container has suffered");
    ensure!(inside(ctx, &id, &["list", "/bin"])? == "probe\n", "/bin is gone");
    Ok(())
}
