//! Whose a container's part of the tree is.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::bundle::{push, put};
use crate::case::{BOUND, Case, Ctx, not_run};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "cgroups/the-programs-user-owns-its-tree",
        source: "runtime-spec config-linux.md#cgroup-ownership; runc does so with systemd only",
        needs: &[Need::Root],
        run: owned,
    },
    Case {
        name: "rootless/another-id-of-podmans-namespace-owns-its-cgroup",
        source: "runtime-spec config-linux.md#cgroup-ownership; podman --userns=auto, and systemd in it",
        needs: &[Need::OrdinaryUser, Need::SubordinateIds, Need::Managed("pids"), Need::Program("unshare")],
        run: another_owner,
    },
];

/// A cgroup namespace of its own, and a tree that may be written to.
fn with_a_tree(config: &mut Value) {
    push(config, "/linux/namespaces", json!({"type": "cgroup"}));
    let tree =
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]});
    push(config, "/mounts", tree);
}

fn owned(ctx: &Ctx) -> Result<()> {
    if !ctx.host.pure_v2 {
        return Err(not_run("v1's directories are not given away"));
    }
    let bundle = ctx.bundle(&["mkdir", "/sys/fs/cgroup/below", ",", "rmdir", "/sys/fs/cgroup/below"])?;
    bundle.edit(|config| {
        with_a_tree(config);
        put(config, "/process/user", json!({"uid": 1000, "gid": 1000}));
    })?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen.starts_with("mkdir /sys/fs/cgroup/below: ok\n"), "{seen}");
    Ok(())
}

/// Root of a user namespace with a range, as an engine's processes are, makes a container whose root is another id of that range.
fn another_owner(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/sys/fs/cgroup/below"])?;
    bundle.edit(|config| {
        with_a_tree(config);
        let maps = json!([{"containerID": 0, "hostID": 1, "size": 1000}]);
        put(config, "/linux/uidMappings", maps.clone());
        put(config, "/linux/gidMappings", maps);
    })?;
    let runtime = ctx.runtime();
    let mut inside = std::process::Command::new("unshare");
    inside.args(["--user", "--mount", "--map-root-user", "--map-auto"]).arg(runtime.get_program());
    inside.args(runtime.get_args()).args(["run", "--bundle", bundle.path()?, &ctx.id("c")]);
    process::run(&mut inside, BOUND)?.success()?.out("mkdir /sys/fs/cgroup/below: ok\n")?;
    Ok(())
}
