//! Kernel parameters: the container's own, and never the host's.

use anyhow::{Result, ensure};
use serde_json::json;

use super::namespaces::without;
use crate::bundle::{push, put};
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "namespaces/sysctl",
        source: "runtime-spec config-linux.md#sysctl",
        needs: &[Need::Root],
        run: sysctl,
    },
    Case {
        name: "namespaces/a-sysctl-of-the-host-is-refused",
        source: "runc: only sysctls of the container's own namespaces",
        needs: &[Need::Root],
        run: host_sysctl,
    },
];

fn sysctl(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&[
        "cat",
        "/proc/sys/net/ipv4/ip_forward",
        ",",
        "cat",
        "/proc/sys/kernel/msgmax",
        ",",
        "cat",
        "/proc/sys/kernel/domainname",
    ])?;
    bundle.set(
        "/linux/sysctl",
        json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345", "kernel.domainname": "a.b"}),
    )?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "1\n12345\na.b\n", "{seen}");
    Ok(())
}

fn host_sysctl(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let before = std::fs::read_to_string("/proc/sys/kernel/panic")?;
    bundle.set("/linux/sysctl", json!({"kernel.panic": "77"}))?;
    ctx.run(&bundle, &ctx.id("a"))?.failure()?.says("kernel.panic")?;
    bundle.edit(|config| {
        without(config, "network");
        put(config, "/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    })?;
    ctx.run(&bundle, &ctx.id("b"))?.failure()?.says("net.ipv4.ip_forward")?;
    ensure!(std::fs::read_to_string("/proc/sys/kernel/panic")? == before, "the host's sysctl changed");
    // Shared by a path. The value is the one that it has: a runtime that writes it does no harm.
    let ttl = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl")?;
    bundle.edit(|config| {
        push(config, "/linux/namespaces", json!({"type": "network", "path": "/proc/self/ns/net"}));
        put(config, "/linux/sysctl", json!({"net.ipv4.ip_default_ttl": ttl.trim()}));
    })?;
    ctx.run(&bundle, &ctx.id("d"))?.failure()?.says("ip_default_ttl")?;
    Ok(())
}
