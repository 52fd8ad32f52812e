//! What an ordinary user has: one id or a range, no cgroup, no privilege.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bundle::{self, Bundle, put};
use crate::case::{BOUND, Case, Ctx, not_run};
use crate::needs::Need;
use crate::process;

const USER: &[Need] = &[Need::OrdinaryUser, Need::UserNamespaces];
const RANGE: &[Need] = &[Need::OrdinaryUser, Need::UserNamespaces, Need::SubordinateIds];

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "rootless/a-single-id",
        source: "runc spec --rootless; user_namespaces(7)",
        needs: USER,
        run: single,
    },
    Case {
        name: "rootless/a-range-through-newuidmap",
        source: "newuidmap(1), subuid(5)",
        needs: RANGE,
        run: range,
    },
    Case {
        name: "rootless/another-user-of-the-range",
        source: "newuidmap(1)",
        needs: RANGE,
        run: another_user,
    },
    Case {
        name: "rootless/an-id-that-is-not-ours-is-refused",
        source: "newuidmap(1): only ids in /etc/subuid",
        needs: RANGE,
        run: not_ours,
    },
    Case {
        name: "rootless/no-cgroup-is-needed-without-limits",
        source: "facts/runtime-compat: ignores EACCES",
        needs: USER,
        run: no_limits,
    },
    Case {
        name: "rootless/the-host-is-out-of-reach",
        source: "user_namespaces(7)",
        needs: USER,
        run: out_of_reach,
    },
    Case {
        name: "rootless/the-user-namespace-of-another-container",
        source: "runc run.bats: joining existing container namespaces; user_namespaces(7): setgroups is denied in it",
        needs: USER,
        run: joined,
    },
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
];

fn single(ctx: &Ctx) -> Result<()> {
    let seen = ctx.show(&ctx.bundle(&["show"])?)?;
    let uid = nix::unistd::geteuid();
    ensure!(seen["uid_map"] == json!([format!("0 {uid} 1")]), "uid_map: {}", seen["uid_map"]);
    ensure!(seen["uid"] == json!([0, 0]), "uid: {}", seen["uid"]);
    Ok(())
}

/// This user's first subordinate id.
fn first(file: &str) -> Result<u32> {
    let uid = nix::unistd::geteuid();
    let name = nix::unistd::User::from_uid(uid)?.map(|u| u.name).unwrap_or_default();
    let text = std::fs::read_to_string(file)?;
    let row = text
        .lines()
        .map(|l| l.split(':').collect::<Vec<_>>())
        .find(|row| row.first() == Some(&name.as_str()));
    Ok(row.and_then(|row| row.get(1).copied()).unwrap_or_default().parse()?)
}

fn ranged(ctx: &Ctx, words: &[&str]) -> Result<Bundle> {
    let bundle = ctx.bundle(words)?;
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (uids, gids) = (first("/etc/subuid")?, first("/etc/subgid")?);
    bundle.edit(|config| {
        let map = |own: u32, first: u32| json!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": 1000}]);
        put(config, "/linux/uidMappings", map(uid, uids));
        put(config, "/linux/gidMappings", map(gid, gids));
    })?;
    Ok(bundle)
}

fn range(ctx: &Ctx) -> Result<()> {
    let seen = ctx.show(&ranged(ctx, &["show"])?)?;
    let uid = nix::unistd::geteuid();
    let expected = json!([format!("0 {uid} 1"), format!("1 {} 1000", first("/etc/subuid")?)]);
    ensure!(seen["uid_map"] == expected, "uid_map: {} instead of {expected}", seen["uid_map"]);
    Ok(())
}

fn another_user(ctx: &Ctx) -> Result<()> {
    let bundle = ranged(ctx, &["show"])?;
    bundle.set("/process/user", json!({"uid": 33, "gid": 34, "additionalGids": [35]}))?;
    let seen = ctx.show(&bundle)?;
    ensure!(
        seen["uid"] == json!([33, 33]) && seen["gid"] == json!([34, 34]) && seen["groups"] == json!([35]),
        "{} {} {}",
        seen["uid"],
        seen["gid"],
        seen["groups"]
    );
    Ok(())
}

fn not_ours(ctx: &Ctx) -> Result<()> {
    let bundle = ranged(ctx, &["show"])?;
    bundle.edit(|config| put(config, "/linux/uidMappings/1/hostID", json!(1)))?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("newuidmap")?;
    Ok(())
}

fn no_limits(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.set("/linux/cgroupsPath", json!(format!("/{}", ctx.id("c"))))?;
    ctx.run(&bundle, &ctx.id("c"))?.success()?;
    Ok(())
}

fn out_of_reach(ctx: &Ctx) -> Result<()> {
    let words = ["setuid", "1", ",", "mknod", "/tmp/n", "c", "1", "3", ",", "read", "/etc/shadow"];
    let bundle = ctx.bundle(&words)?;
    bundle.mount(
        json!({"destination": "/etc", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}),
    )?;
    bundle.set("/process/capabilities", json!({"bounding": ["CAP_SETUID", "CAP_MKNOD", "CAP_DAC_OVERRIDE"], "effective": ["CAP_SETUID", "CAP_MKNOD", "CAP_DAC_OVERRIDE"], "permitted": ["CAP_SETUID", "CAP_MKNOD", "CAP_DAC_OVERRIDE"]}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "setuid 1: EINVAL\nmknod /tmp/n c 1 3: EPERM\nread /etc/shadow: EACCES\n", "{seen}");
    Ok(())
}

/// Nobody in particular.
const SOMEBODY: u32 = 54_321;

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

/// Runs a container as a user whose systemd has nothing to do with us.
fn as_somebody(
    ctx: &Ctx,
    user: u32,
    words: &[&str],
    edit: impl FnOnce(&mut serde_json::Value),
) -> Result<process::Ended> {
    // The case's own directory is root's.
    let place = tempfile::Builder::new().prefix("conformance.").tempdir_in(crate::work_root())?;
    let bundle = Bundle::make(place.path().join("bundle"), &ctx.binaries.join("probe"))?;
    let mut config = bundle::config(words, false);
    for key in ["/linux/uidMappings/0/hostID", "/linux/gidMappings/0/hostID"] {
        put(&mut config, key, json!(user));
    }
    edit(&mut config);
    bundle.write(&config)?;
    let state = place.path().join("state");
    std::fs::create_dir(&state)?;
    for own in [place.path(), &state, &bundle.root()] {
        std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o755))?;
        chown(own, Some(user), Some(user))?;
    }
    let subject = ctx.subject.command();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups"]);
    command.arg(subject.get_program()).args(subject.get_args()).arg("--root").arg(&state);
    process::run(command.args(["run", "--bundle", bundle.path()?, &ctx.id("c")]), BOUND)
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
    ensure!(
        !std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')).exists(),
        "a cgroup was left"
    );
    ended.says("permission denied")?.says("--systemd-cgroup").map(drop)
}

fn somebody_elses(ctx: &Ctx) -> Result<()> {
    // Root's container of this name is where the user's would be, without a path in the configuration.
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    ctx.detached(&bundle, "c")?;
    as_somebody(ctx, SOMEBODY, &["print", "it runs"], |_| {})?.success()?.out("it runs\n")?;
    Ok(())
}

fn joined(ctx: &Ctx) -> Result<()> {
    let pid = ctx.pid(&ctx.waiting("first")?)?;
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| {
        for key in ["/linux/uidMappings", "/linux/gidMappings"] {
            bundle::remove(config, key);
        }
        for namespace in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
            if let Some(kind @ ("user" | "pid")) = namespace["type"].as_str() {
                namespace["path"] = json!(format!("/proc/{pid}/ns/{kind}"));
            }
        }
    })?;
    let seen = ctx.show(&bundle)?;
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/user"))?;
    ensure!(
        seen["namespaces"]["user"] == json!(theirs),
        "{} instead of {theirs:?}",
        seen["namespaces"]["user"]
    );
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
    let bundle = ctx.bundle(&["print", "it runs"])?;
    bundle.set("/linux/resources", json!({"pids": {"limit": 20}}))?;
    let hint = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says(hint)?;
    Ok(())
}
