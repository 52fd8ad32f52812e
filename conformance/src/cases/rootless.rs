//! What an ordinary user has: one id or a range, no cgroup, no privilege.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::account;
use crate::bundle::{self, Bundle, put};
use crate::case::{Case, Ctx};
use crate::needs::Need;

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
    let name = account::own()?.name;
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
