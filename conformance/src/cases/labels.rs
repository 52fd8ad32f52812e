//! Labels of security modules: given, for exec too, and not silently left out.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::{BOUND, Case, Ctx, not_run};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "labels/apparmor-for-run-and-exec",
        source: "runtime-spec config.md#linux-process: apparmorProfile; runc exec --apparmor",
        needs: &[Need::Root, Need::AppArmor],
        run: apparmor,
    },
    Case {
        name: "labels/an-apparmor-profile-that-is-not-loaded",
        source: "runtime-spec config.md#linux-process: apparmorProfile; nothing runs unconfined instead",
        needs: &[Need::AppArmor],
        run: not_loaded,
    },
    Case {
        name: "labels/apparmor-where-there-is-none-is-an-error",
        source: "runc: apparmor is not supported",
        needs: &[],
        run: no_apparmor,
    },
    Case {
        name: "labels/selinux-where-there-is-none-is-an-error",
        source: "runc: selinux label is specified in config, but selinux is disabled",
        needs: &[],
        run: no_selinux,
    },
];

/// Profiles of a case's own, out of the kernel when dropped.
struct Profiles {
    file: std::path::PathBuf,
}

impl Profiles {
    fn load(ctx: &Ctx, names: &[&str]) -> Result<Self> {
        let profile = |name: &&str| {
            let rules = "file, capability, network, mount, umount, signal, ptrace, unix,";
            format!(
                "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n{rules}\ndeny /tmp/{name} w,\n}}\n"
            )
        };
        let file = ctx.path("profiles");
        std::fs::write(&file, names.iter().map(profile).collect::<String>())?;
        let loaded = Self { file };
        loaded.parser("--add")?;
        Ok(loaded)
    }

    fn parser(&self, deed: &str) -> Result<()> {
        let mut parser = Command::new("apparmor_parser");
        parser.args([deed, "--skip-cache"]).arg(&self.file);
        process::run(&mut parser, BOUND * 3)?.success().map(drop)
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        // What was not loaded is not there.
        let _removed = self.parser("--remove");
    }
}

fn apparmor(ctx: &Ctx) -> Result<()> {
    let (first, other) = (ctx.id("first"), ctx.id("other"));
    let profiles = Profiles::load(ctx, &[&first, &other])?;
    let (denied, allowed) = (format!("/tmp/{first}"), format!("/tmp/{other}"));
    let words = ["cat", "/proc/self/attr/current", ",", "touch", &denied, ",", "touch", &allowed];
    let bundle = ctx.bundle(&[&words[..], &[",", "write", "/ready", "", ",", "wait"]].concat())?;
    bundle.set("/process/apparmorProfile", json!(first))?;
    let id = ctx.id("c");
    let mut running = ctx.rt_start(&["run", "--detach", "--bundle", bundle.path()?, &id])?;
    ensure!(running.ends_within(BOUND)? == Some(0), "run: {}", running.errors_so_far()?);
    process::until("the container's program has started", BOUND, || {
        Ok(bundle.root().join("ready").exists())
    })?;
    let expected = format!("{first} (enforce)\ntouch {denied}: EACCES\ntouch {allowed}: ok\n");
    let seen = running.so_far()?;
    ensure!(seen.starts_with(&expected), "{seen:?} instead of {expected:?}");
    let exec = |before: &[&str]| ctx.rt(&[&["exec"], before, &[&id, "/bin/probe"], &words[..]].concat());
    exec(&[])?.success()?.out(&expected)?;
    let expected = format!("{other} (enforce)\ntouch {denied}: ok\ntouch {allowed}: EACCES\n");
    exec(&["--apparmor", &other])?.success()?.out(&expected)?;
    // Nobody may be confined by them any more when they go.
    ctx.rt(&["delete", "--force", &id])?.success()?;
    drop(profiles);
    Ok(())
}

fn not_loaded(ctx: &Ctx) -> Result<()> {
    let name = ctx.id("nobody-has-loaded-it");
    let bundle = ctx.bundle(&["print", "it runs"])?;
    bundle.set("/process/apparmorProfile", json!(name))?;
    let ended = ctx.run(&bundle, &ctx.id("a"))?;
    ensure!(!ended.out.contains("it runs"), "{}", ended.unexpected("it ran"));
    let ended = ended.failure()?.says("apparmor profile")?;
    ended.says("no such file or directory")?;
    let id = ctx.waiting("w")?;
    let ended = ctx.rt(&["exec", "--apparmor", &name, &id, "/bin/probe", "print", "it runs"])?;
    ensure!(!ended.out.contains("it runs"), "{}", ended.unexpected("it ran"));
    ended.failure()?.says("no such file or directory").map(drop)
}

fn refused(ctx: &Ctx, (field, value): (&str, &str), name: &str) -> Result<()> {
    let bundle = ctx.bundle(&["print", "it runs"])?;
    bundle.set(field, json!(value))?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?;
    ensure!(!ended.out.contains("it runs"), "{}", ended.unexpected("it ran without the label"));
    let said = ended.err.to_lowercase();
    ensure!(ended.code != 0 && said.contains(name), "{}", ended.unexpected("no error that names it"));
    Ok(())
}

fn no_apparmor(ctx: &Ctx) -> Result<()> {
    if ctx.host.lacks(Need::AppArmor).is_none() {
        return Err(not_run("AppArmor is on"));
    }
    refused(ctx, ("/process/apparmorProfile", "some-profile"), "apparmor")
}

fn no_selinux(ctx: &Ctx) -> Result<()> {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(not_run("SELinux is on"));
    }
    refused(ctx, ("/process/selinuxLabel", "system_u:system_r:container_t:s0"), "selinux")
}
