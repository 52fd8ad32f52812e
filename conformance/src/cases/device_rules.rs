//! Device rules: in force, and instead of those that somebody else has left in the cgroup.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::bundle::{push, put};
use crate::case::{Case, Ctx, not_run};
use crate::needs::Need;
use crate::sys::bpf;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "cgroups/device-rules-are-enforced",
        source: "runtime-spec config-linux.md#allowed-device-list",
        needs: &[Need::Root],
        run: enforced,
    },
    Case {
        name: "cgroups/a-device-is-denied-inside-a-wildcard",
        source: "runtime-spec config-linux.md#allowed-device-list; runc refuses what v1 cannot express",
        needs: &[Need::Root],
        run: denied_inside,
    },
    Case {
        name: "cgroups/all-character-devices-are-denied-but-the-default-ones",
        source: "runtime-spec config-linux.md#allowed-device-list",
        needs: &[Need::Root],
        run: denied_kind,
    },
    Case {
        name: "cgroups/a-device-rule-without-access-is-refused",
        source: "runc: device access cannot be empty",
        needs: &[Need::Root],
        run: no_access,
    },
    Case {
        name: "cgroups/tun-needs-no-device-rule",
        source: "runc, crun: /dev/net/tun is among the devices that are always allowed",
        needs: &[Need::Root],
        run: tun,
    },
    Case {
        name: "cgroups/device-rules-replace-those-left-behind",
        source: "runc's cgroups/devices: programs that are attached already are removed",
        needs: &[Need::Managed("devices")],
        run: left_behind,
    },
    Case {
        name: "cgroups/a-device-program-that-allows-no-other-is-an-error",
        source: "bpf(2): without BPF_F_ALLOW_MULTI no other may be attached; runc and crun say so too",
        needs: &[Need::Managed("devices")],
        run: exclusive,
    },
];

/// 1:3 is /dev/null, which is always allowed; 1:5 (/dev/zero) is by default as well; 1:11 is /dev/kmsg; 1:1 is /dev/mem.
fn enforced(ctx: &Ctx) -> Result<()> {
    let words = [
        "open",
        "/dev/null",
        "w",
        ",",
        "open",
        "/dev/log1",
        "r",
        ",",
        "open",
        "/dev/full2",
        "r",
        ",",
        "open",
        "/dev/full2",
        "w",
    ];
    let bundle = ctx.bundle(&words)?;
    bundle.edit(|config| {
        push(
            config,
            "/linux/devices",
            json!({"path": "/dev/log1", "type": "c", "major": 1, "minor": 11, "fileMode": 438}),
        );
        push(
            config,
            "/linux/devices",
            json!({"path": "/dev/full2", "type": "c", "major": 1, "minor": 4, "fileMode": 438}),
        );
        push(
            config,
            "/linux/resources/devices",
            json!({"allow": true, "type": "c", "major": 1, "minor": 4, "access": "r"}),
        );
    })?;
    let seen = ctx.output(&bundle)?;
    let lines: Vec<&str> = seen.lines().collect();
    ensure!(lines.first() == Some(&"open /dev/null w: ok"), "{seen}");
    ensure!(lines.get(1) == Some(&"open /dev/log1 r: EPERM"), "{seen}");
    // /dev/port may be missing in the kernel: what counts is that the rule lets reading through and writing not.
    ensure!(lines.get(2).is_some_and(|l| !l.ends_with("EPERM") || l.contains("full2 r")), "{seen}");
    ensure!(lines.get(3) == Some(&"open /dev/full2 w: EPERM"), "{seen}");
    Ok(())
}

/// On v1 the kernel takes a deny rule inside an allowed exception for done, and does nothing.
fn denied_inside(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["open", "/dev/log1", "r", ",", "open", "/dev/full2", "r"])?;
    bundle.edit(|config| {
        for (path, minor) in [("/dev/log1", 11), ("/dev/full2", 7)] {
            let node = json!({"path": path, "type": "c", "major": 1, "minor": minor, "fileMode": 438});
            push(config, "/linux/devices", node);
        }
        let rules = "/linux/resources/devices";
        push(config, rules, json!({"allow": true, "type": "c", "major": 1, "access": "rwm"}));
        push(config, rules, json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}));
    })?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?;
    match ended.code {
        0 => ended.out("open /dev/log1 r: EPERM\nopen /dev/full2 r: ok\n")?,
        _ => ended.says("exception")?,
    };
    Ok(())
}

fn denied_kind(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["open", "/dev/null", "w", ",", "open", "/dev/log1", "r"])?;
    bundle.edit(|config| {
        let node = json!({"path": "/dev/log1", "type": "c", "major": 1, "minor": 11, "fileMode": 438});
        push(config, "/linux/devices", node);
        let all = json!({"allow": true, "access": "rwm"});
        let characters = json!({"allow": false, "type": "c", "access": "rwm"});
        put(config, "/linux/resources/devices", json!([all, characters]));
    })?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "open /dev/null w: ok\nopen /dev/log1 r: EPERM\n", "{seen}");
    Ok(())
}

fn no_access(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "it runs"])?;
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 11});
    bundle.edit(|config| push(config, "/linux/resources/devices", rule))?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("access")?;
    Ok(())
}

fn tun(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["open", "/dev/net/tun", "r"])?;
    let node = json!({"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 438});
    bundle.edit(|config| push(config, "/linux/devices", node))?;
    let seen = ctx.output(&bundle)?;
    // The kernel may have no such device; a rule answers EPERM.
    ensure!(!seen.contains("EPERM"), "{seen}");
    Ok(())
}

/// What is left of a container whose state was wiped: its cgroup, with rules that the next one does not have.
fn left_behind(ctx: &Ctx) -> Result<()> {
    let path = format!("/{}-left", ctx.tag);
    let first = ctx.bundle_named("first", &["write", "/ready", "", ",", "wait"])?;
    first.set("/linux/cgroupsPath", json!(path))?;
    let id = ctx.detached(&first, "first")?;
    ctx.rt(&["kill", &id, "KILL"])?.success()?;
    ctx.until_status(&id, "stopped")?;
    std::fs::remove_dir_all(ctx.state_root().join(&id))?;
    let second = ctx.bundle_named("second", &["open", "/dev/fused", "r"])?;
    second.edit(|config| {
        put(config, "/linux/cgroupsPath", json!(path));
        let node = json!({"path": "/dev/fused", "type": "c", "major": 10, "minor": 229, "fileMode": 438});
        push(config, "/linux/devices", node);
        let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"});
        push(config, "/linux/resources/devices", rule);
    })?;
    let ended = ctx.run(&second, &ctx.id("second"))?.success()?;
    // The kernel may have no such device; a rule answers EPERM.
    ensure!(!ended.out.contains("EPERM"), "{}", ended.out);
    Ok(())
}

/// A cgroup that goes with the case.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        // In use only where the case has failed already.
        let _removed = std::fs::remove_dir(&self.0);
    }
}

fn exclusive(ctx: &Ctx) -> Result<()> {
    if !ctx.host.pure_v2 {
        return Err(not_run("v1 has files for device rules"));
    }
    for (name, below) in [(ctx.id("alone"), ""), (ctx.id("above"), "/below")] {
        let group = Group(PathBuf::from("/sys/fs/cgroup").join(&name));
        std::fs::create_dir(&group.0).context("make a cgroup")?;
        bpf::attach_alone(&File::open(&group.0)?).context("attach a device program")?;
        let bundle = ctx.bundle_named(&name, &["print", "it runs"])?;
        bundle.set("/linux/cgroupsPath", json!(format!("/{name}{below}")))?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?.failure()?;
        let said = ended.err.to_lowercase();
        ensure!(said.contains("operation not permitted"), "{}", ended.unexpected("no reason was given"));
        ctx.rt(&["state", &ctx.id("c")])?.failure()?;
    }
    Ok(())
}
