//! Cgroups that others have: whoever is in one that is not the container's, or not any more, is neither killed nor waited for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::case::{BOUND, Case, Ctx, not_run};
use crate::needs::Need;
use crate::process::{self, Running};
use crate::subject::Kind;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "neighbours/delete-of-a-stopped-one-spares-who-has-its-cgroup-now",
        source: "runc delete: unable to remove container's cgroup",
        needs: &[Need::Root],
        run: |ctx| same_path(ctx, &[]),
    },
    Case {
        name: "neighbours/the-same-without-a-pid-namespace",
        source: "runc delete: unable to remove container's cgroup",
        needs: &[Need::Root],
        run: |ctx| same_path(ctx, &["pid"]),
    },
    Case {
        name: "neighbours/delete-of-a-cut-off-creation-spares-who-had-its-cgroup-before",
        source: "facts/security: kill -9 of the runtime at any point; runc kills nothing that it has not made",
        needs: &[Need::Root],
        run: cut_off,
    },
    Case {
        name: "neighbours/the-hosts-own-cgroup-is-refused",
        source: "facts/runtime-compat: a non-empty cgroup is refused before joining",
        needs: &[Need::Root],
        run: hosts_own,
    },
    Case {
        name: "neighbours/below-a-frozen-cgroup",
        source: "facts/runtime-compat: a frozen cgroup is refused before joining; on v1 even SIGKILL would wait",
        needs: &[Need::Root],
        run: below_frozen,
    },
    Case {
        name: "neighbours/exec-below-a-frozen-cgroup",
        source: "facts/runtime-compat: a frozen cgroup is refused before joining",
        needs: &[Need::Root],
        run: exec_below_frozen,
    },
    Case {
        name: "neighbours/kill-reaches-one-that-has-left-its-cgroup",
        source: "runc kill: an error, or everybody is reached",
        needs: &[Need::Root],
        run: has_left,
    },
];

/// A bundle in the cgroup of that path, without these namespaces.
fn bundle_at(ctx: &Ctx, name: &str, (path, without): (&str, &[&str]), words: &[&str]) -> Result<Bundle> {
    let bundle = ctx.bundle_named(name, words)?;
    bundle.set("/linux/cgroupsPath", json!(path))?;
    bundle.edit(|config| {
        if let Some(list) = config.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
            list.retain(|ns| !without.iter().any(|kind| ns["type"] == *kind));
        }
    })?;
    Ok(bundle)
}

const WAITS: [&str; 5] = ["write", "/ready", "", ",", "stop"];

fn same_path(ctx: &Ctx, without: &[&str]) -> Result<()> {
    let path = format!("/{}-shared", ctx.tag);
    let first = bundle_at(ctx, "first", (&path, without), &["exit", "0"])?;
    let first_id = ctx.id("first");
    ctx.rt(&["run", "--detach", "--bundle", first.path()?, &first_id])?.success()?;
    ctx.until_status(&first_id, "stopped")?;
    let second = bundle_at(ctx, "second", (&path, without), &WAITS)?;
    let second_id = ctx.detached(&second, "second")?;
    // Whether it says no or frees the name: whose the cgroup is now is left alone.
    let _deleted = ctx.rt(&["delete", &first_id])?;
    ensure!(ctx.state(&second_id)?["status"] == "running", "delete has ended the second container");
    let _forced = ctx.rt(&["delete", "--force", &first_id])?;
    ensure!(ctx.state(&second_id)?["status"] == "running", "delete --force has ended the second container");
    ctx.rt(&["delete", "--force", &second_id])?.success()?;
    ctx.rt(&["delete", "--force", &first_id])?.success()?;
    ctx.rt(&["state", &first_id])?.failure().map(drop)
}

fn cut_off(ctx: &Ctx) -> Result<()> {
    let path = format!("/{}-busy", ctx.tag);
    let first = bundle_at(ctx, "first", (&path, &[]), &WAITS)?;
    let first_id = ctx.detached(&first, "first")?;
    let second = bundle_at(ctx, "second", (&path, &[]), &["stop"])?;
    for moment in (0..60).map(|n| Duration::from_micros(200 * n)) {
        let id = ctx.id("second");
        let mut running = ctx.rt_start(&["create", "--bundle", second.path()?, &id])?;
        if running.ends_within(moment)?.is_none() {
            running.signal(Signal::SIGKILL)?;
            running.ends_within(BOUND)?.context("end of SIGKILL")?;
        }
        ctx.rt(&["delete", "--force", &id])?.success()?;
        let status = &ctx.state(&first_id)?["status"];
        ensure!(*status == "running", "killed after {moment:?}, the first container is {status}");
    }
    Ok(())
}

fn hosts_own(ctx: &Ctx) -> Result<()> {
    if ctx.subject.kind == Kind::Crun {
        // Seen in a guest, on v2: its services were gone.
        return Err(not_run(
            "crun takes the host's own cgroup, and ends with its container whoever is in it",
        ));
    }
    let bundle = bundle_at(ctx, "bundle", ("/", &[]), &["exit", "0"])?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?;
    ctx.rt(&["state", &ctx.id("c")])?.failure().map(drop)
}

/// A cgroup of the test's own that is frozen, and thawed and removed at the end.
struct Frozen {
    dir: PathBuf,
    v2: bool,
}

impl Frozen {
    fn make(ctx: &Ctx) -> Result<Self> {
        let top = if ctx.host.pure_v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/freezer" };
        let dir = Path::new(top).join(format!("{}-frozen", ctx.tag));
        if !ctx.host.pure_v2 && !Path::new(top).join("tasks").exists() {
            return Err(not_run("no freezer is mounted"));
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(Self { dir, v2: ctx.host.pure_v2 })
    }

    fn freeze(&self) -> Result<()> {
        let (file, word) = if self.v2 { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
        let path = self.dir.join(file);
        std::fs::write(&path, word)?;
        let seen = if self.v2 { self.dir.join("cgroup.events") } else { path };
        let expected = if self.v2 { "frozen 1" } else { "FROZEN" };
        process::until("the cgroup is frozen", BOUND, || {
            Ok(std::fs::read_to_string(&seen)?.lines().any(|line| line == expected))
        })
    }

    fn thaw(&self) {
        let (file, word) = if self.v2 { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        let _thawed = std::fs::write(self.dir.join(file), word);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw();
        let name = self.dir.file_name().unwrap_or_default().to_owned();
        let tops = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
        for top in tops.chain([PathBuf::from("/sys/fs/cgroup")]) {
            // What a container left has gone with it; absent in most hierarchies.
            let _gone = std::fs::remove_dir(top.join(&name).join("c"));
            let _gone = std::fs::remove_dir(top.join(&name));
        }
    }
}

/// How long a refusal may take; one that hangs is let go on at the end of it.
const SOON: Duration = Duration::from_secs(15);

fn refused(mut running: Running, frozen: &Frozen) -> Result<String> {
    let code = running.ends_within(SOON)?;
    frozen.thaw();
    let code = code.context("it hangs in the frozen cgroup")?;
    ensure!(code != 0, "it succeeded");
    let said = running.errors_so_far()?;
    ensure!(said.contains("frozen") || said.contains("paused"), "{said}");
    Ok(said)
}

fn below_frozen(ctx: &Ctx) -> Result<()> {
    let frozen = Frozen::make(ctx)?;
    let bundle = bundle_at(ctx, "bundle", (&format!("/{}-frozen/c", ctx.tag), &[]), &["exit", "0"])?;
    frozen.freeze()?;
    refused(ctx.rt_start(&["run", "--bundle", bundle.path()?, &ctx.id("c")])?, &frozen)?;
    ensure!(!frozen.dir.join("c").exists(), "its cgroup is left");
    ctx.rt(&["state", &ctx.id("c")])?.failure().map(drop)
}

fn exec_below_frozen(ctx: &Ctx) -> Result<()> {
    let frozen = Frozen::make(ctx)?;
    let bundle = bundle_at(ctx, "bundle", (&format!("/{}-frozen/c", ctx.tag), &[]), &WAITS)?;
    let id = ctx.detached(&bundle, "c")?;
    frozen.freeze()?;
    refused(ctx.rt_start(&["exec", &id, "/probe", "exit", "0"])?, &frozen)?;
    ctx.rt(&["exec", &id, "/probe", "exit", "6"])?.code(6)?;
    ctx.rt(&["delete", "--force", &id])?.success().map(drop)
}

/// A runtime that cannot find it by its cgroup must at least not say that all are dead.
fn has_left(ctx: &Ctx) -> Result<()> {
    let bundle = bundle_at(ctx, "bundle", (&format!("/{}-left", ctx.tag), &["pid"]), &WAITS)?;
    let id = ctx.detached(&bundle, "c")?;
    let pid = ctx.pid(&id)?;
    let name = format!("{}-left", ctx.tag);
    let tops = std::fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path());
    for top in tops.chain([PathBuf::from("/sys/fs/cgroup")]).filter(|top| top.join(&name).is_dir()) {
        std::fs::write(top.join("cgroup.procs"), pid.to_string())?;
        process::until("its cgroup is empty", BOUND, || Ok(std::fs::remove_dir(top.join(&name)).is_ok()))?;
    }
    let killed = ctx.rt(&["kill", &id, "KILL"])?;
    if killed.code == 0 {
        ctx.until_status(&id, "stopped")?;
    }
    // One that has said no leaves it to the worker.
    let _ended = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    ctx.rt(&["delete", "--force", &id]).map(drop)
}
