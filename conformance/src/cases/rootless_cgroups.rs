//! Cgroups of an ordinary user: none, some of v1, one of another's, or one that his systemd makes.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::somebody::{SOMEBODY, Somebody};
use crate::bundle::put;
use crate::case::{BOUND, Case, Ctx, not_run};
use crate::needs::Need;
use crate::process::{self, Ended};

const USER: &[Need] = &[Need::OrdinaryUser, Need::UserNamespaces];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rootless/without-cgroup-and-pid-namespace-there-is-a-warning",
        source: "runc create.bats: shared pidns + rootless",
        needs: USER,
        run: warned,
    },
    Case {
        name: "rootless/a-limit-without-permission-says-what-to-do",
        source: "runc cgroups.bats: rootless + limits + no cgrouppath + no permission",
        needs: USER,
        run: limited,
    },
    Case {
        name: "rootless/a-cgroup-of-somebody-else-is-not-in-the-way",
        source: "runc: a cgroup that cannot be had is gone without; root's container may have the same name",
        needs: &[Need::V1("pids"), Need::Program("setpriv")],
        run: somebody_elses,
    },
    Case {
        name: "rootless/delegated-v1-directories-are-enough",
        source: "runc tests/rootless.sh: a user with v1's directories, and nothing in the v2 tree of a hybrid host",
        needs: &[Need::V1("pids"), Need::Program("setpriv")],
        run: delegated,
    },
    Case {
        name: "rootless/a-delegated-cgroup-from-outside-is-an-error-that-helps",
        source: "cgroups(7): who moves a process has to own the tree that it comes from; DESIGN: the user's systemd can",
        needs: &[Need::Systemd, Need::Program("setpriv")],
        run: outside,
    },
    Case {
        name: "rootless/a-limit-outside-of-a-delegated-cgroup-is-a-scope-of-the-users-systemd",
        source: "DESIGN: a caller in the session of an ssh login has a scope for limits; podman moves itself into one",
        needs: &[Need::Systemd, Need::Program("setpriv")],
        run: scope,
    },
];

/// What root gives to a user: a directory in each hierarchy of v1.
#[derive(Debug, Default)]
struct Delegation(Vec<PathBuf>);

impl Delegation {
    fn make(name: &str) -> Result<Self> {
        let mut made = Self::default();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup")? {
            let dir = hierarchy?.path().join(name);
            let is_v1 = |dir: &PathBuf| dir.with_file_name("tasks").exists();
            if !is_v1(&dir) || dir.parent().is_some_and(std::path::Path::is_symlink) {
                continue;
            }
            std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
            made.0.push(dir.clone());
            for file in
                ["cpuset.cpus", "cpuset.mems"].map(|file| dir.join(file)).iter().filter(|f| f.exists())
            {
                let above = dir.with_file_name(file.file_name().unwrap_or_default());
                std::fs::write(file, std::fs::read(above)?)?;
            }
            for own in [dir.clone(), dir.join("cgroup.procs"), dir.join("tasks")] {
                chown(own, Some(SOMEBODY), Some(SOMEBODY))?;
            }
        }
        Ok(made)
    }
}

impl Drop for Delegation {
    fn drop(&mut self) {
        for dir in &self.0 {
            // Empty but where the case has failed already.
            let _removed = std::fs::remove_dir(dir);
        }
    }
}

fn delegated(ctx: &Ctx) -> Result<()> {
    let (name, id) = (ctx.id("delegated"), ctx.id("c"));
    let _delegation = Delegation::make(&name)?;
    let ended = as_somebody(ctx, SOMEBODY, &["cat", "/proc/self/cgroup"], |config| {
        put(config, "/linux/cgroupsPath", json!(format!("/{name}/{id}")));
        put(config, "/linux/resources", json!({"pids": {"limit": 20}}));
    })?;
    let seen = ended.success()?.out;
    ensure!(seen.contains(&format!(":pids:/{name}/{id}\n")), "{seen}");
    Ok(())
}

/// Runs a container as such a user.
fn as_somebody(ctx: &Ctx, user: u32, words: &[&str], edit: impl FnOnce(&mut Value)) -> Result<Ended> {
    Somebody::new(ctx, user, words, edit)?.run(ctx)
}

/// Of a user who is logged in, or lingers: the number, and the path of his systemd's own cgroup.
fn with_a_systemd() -> Result<(u32, String)> {
    for slice in std::fs::read_dir("/sys/fs/cgroup/user.slice")?.flatten() {
        let name = slice.file_name().to_string_lossy().into_owned();
        let user =
            name.strip_prefix("user-").and_then(|name| name.strip_suffix(".slice")?.parse::<u32>().ok());
        let Some(user) = user.filter(|user| *user != 0) else { continue };
        let service = format!("user@{user}.service");
        if slice.path().join(&service).is_dir() {
            return Ok((user, format!("/user.slice/{name}/{service}")));
        }
    }
    Err(not_run("no ordinary user has a systemd of his own here"))
}

fn outside(ctx: &Ctx) -> Result<()> {
    let (user, service) = with_a_systemd()?;
    let path = format!("{service}/{}", ctx.id("c"));
    let ended = as_somebody(ctx, user, &["print", "it runs"], |config| {
        put(config, "/linux/cgroupsPath", json!(path));
    })?;
    let ended = ended.failure()?;
    ensure!(!in_tree(&path).exists(), "a cgroup was left");
    ended.says("permission denied")?.says("--systemd-cgroup").map(drop)
}

fn somebody_elses(ctx: &Ctx) -> Result<()> {
    // Root's container of this name is where the user's would be, without a path in the configuration.
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    ctx.detached(&bundle, "c")?;
    as_somebody(ctx, SOMEBODY, &["print", "it runs"], |_| {})?.success()?.out("it runs\n")?;
    Ok(())
}

fn in_tree(path: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'))
}

fn scope(ctx: &Ctx) -> Result<()> {
    let (user, service) = with_a_systemd()?;
    let whole = |config: &mut Value| put(config, "/linux/resources", json!({"pids": {"limit": 20}}));
    let words = ["write", "/ready", "", ",", "wait"];
    let somebody = Somebody::new(ctx, user, &words, whole)?;
    let id = ctx.id("c");
    somebody.rt(ctx, &["run", "--detach", "--bundle", somebody.bundle.path()?, &id])?.success()?;
    process::until("the container's program has started", BOUND, || {
        Ok(somebody.bundle.root().join("ready").exists())
    })?;
    let path = format!("{service}/user.slice/runc-{id}.scope");
    let file =
        |name: &str| std::fs::read_to_string(in_tree(&path).join(name)).map(|text| text.trim().to_owned());
    ensure!(file("pids.max").context("read the limit")? == "20", "pids.max is {}", file("pids.max")?);
    lives(ctx, &somebody, &id)?;
    std::fs::create_dir(in_tree(&path).join("below"))?;
    let words = ["exec", "--cgroup", "below", &id, "/probe", "cat", "/proc/self/cgroup"];
    let seen = somebody.rt(ctx, &words)?.success()?.out;
    ensure!(seen.trim().ends_with(".scope/below"), "exec --cgroup went to {seen}");
    somebody.rt(ctx, &["exec", "--cgroup", "nowhere", &id, "/probe", "exit", "0"])?.code(255)?;
    ensure!(file("pids.max")? == "30", "after the update pids.max is {}", file("pids.max")?);
    somebody.rt(ctx, &["delete", "--force", &id])?.success()?;
    ensure!(!in_tree(&path).exists(), "the scope is left");
    // Without a limit it stays where its caller is, and systemd is not asked.
    let seen = as_somebody(ctx, user, &["cat", "/proc/self/cgroup"], |_| {})?.success()?.out;
    ensure!(!seen.contains(&service), "{seen}");
    Ok(())
}

/// What takes a cgroup of the container's own.
fn lives(ctx: &Ctx, somebody: &Somebody, id: &str) -> Result<()> {
    let rt = |args: &[&str]| somebody.rt(ctx, args)?.success();
    let status =
        || Ok::<_, anyhow::Error>(serde_json::from_str::<Value>(&rt(&["state", id])?.out)?["status"].clone());
    rt(&["pause", id])?;
    ensure!(status()? == "paused", "it is {}", status()?);
    rt(&["resume", id])?;
    ensure!(status()? == "running", "it is {}", status()?);
    rt(&["update", "--pids-limit", "30", id])?;
    let seen = rt(&["exec", id, "/probe", "cat", "/proc/self/cgroup"])?.out;
    ensure!(seen.trim().ends_with(&format!("/runc-{id}.scope")), "exec went to {seen}");
    let pids: Value = serde_json::from_str(&rt(&["ps", "--format", "json", id])?.out)?;
    ensure!(pids.as_array().is_some_and(|pids| pids.len() == 1), "{pids}");
    Ok(())
}

/// Ends the case where this user has been given a part of the tree, as systemd's sessions are.
fn without_cgroups() -> Result<()> {
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let dir = PathBuf::from("/sys/fs/cgroup").join(own);
    for dir in [dir.parent(), Some(&dir)].into_iter().flatten() {
        if nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok() {
            return Err(not_run(format!("this user may make cgroups in {}", dir.display())));
        }
    }
    Ok(())
}

fn warned(ctx: &Ctx) -> Result<()> {
    without_cgroups()?;
    let bundle = ctx.bundle(&["print", "it runs"])?;
    bundle.edit(|config| {
        super::namespaces::without(config, "pid");
        // A proc of its own is not to be had.
        let mounts = config["mounts"].as_array_mut().into_iter().flatten();
        for proc in mounts.filter(|mount| mount["type"] == "proc") {
            *proc = json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]});
        }
    })?;
    let ended =
        ctx.run(&bundle, &ctx.id("c"))?.success()?.says("Such configuration is strongly discouraged")?;
    ended.out("it runs\n")?;
    Ok(())
}

fn limited(ctx: &Ctx) -> Result<()> {
    without_cgroups()?;
    let systemd = format!("/run/user/{}/systemd/private", nix::unistd::geteuid());
    if Path::new(&systemd).exists() {
        return Err(not_run("this user's systemd makes cgroups with limits"));
    }
    let bundle = ctx.bundle(&["print", "it runs"])?;
    bundle.set("/linux/resources", json!({"pids": {"limit": 20}}))?;
    let hint = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says(hint)?;
    Ok(())
}
