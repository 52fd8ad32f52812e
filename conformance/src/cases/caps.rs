//! Capabilities: the five sets, unknown names, exec's own.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "caps/none-when-absent",
        source: "runtime-spec config.md#linux-process",
        needs: &[],
        run: none,
    },
    Case {
        name: "caps/ambient",
        source: "runtime-spec config.md#linux-process: ambient",
        needs: &[Need::Root],
        run: ambient,
    },
    Case {
        name: "caps/an-unknown-name-is-a-warning",
        source: "facts/runtime-compat: an unknown capability is a warning, not an error",
        needs: &[],
        run: unknown,
    },
    Case {
        name: "caps/an-ambient-one-that-cannot-be-raised-is-a-warning",
        source: "facts/runtime-compat",
        needs: &[Need::Root],
        run: unraisable,
    },
    Case {
        name: "caps/exec-cap-leaves-inheritable-and-ambient-empty",
        source: "CVE-2022-24769, CVE-2025-27612",
        needs: &[Need::Root],
        run: exec_cap,
    },
    Case { name: "caps/refuse-what-they-do-not-hold", source: "capabilities(7)", needs: &[], run: refused },
];

const EMPTY: &str = "0000000000000000";

fn none(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.set("/process/capabilities", json!({}))?;
    let seen = ctx.show(&bundle)?;
    for set in ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"] {
        ensure!(seen["status"][set] == EMPTY, "{set}: {}", seen["status"][set]);
    }
    Ok(())
}

fn ambient(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    let caps = json!(["CAP_NET_BIND_SERVICE"]);
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}))?;
    bundle.set(
        "/process/capabilities",
        json!({"bounding": caps, "effective": caps, "permitted": caps, "inheritable": caps, "ambient": caps}),
    )?;
    let seen = ctx.show(&bundle)?;
    for set in ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"] {
        ensure!(seen["status"][set] == "0000000000000400", "{set}: {}", seen["status"][set]);
    }
    Ok(())
}

fn unknown(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    let caps = json!(["CAP_KILL", "CAP_NO_SUCH_THING"]);
    bundle.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?.success()?.says("CAP_NO_SUCH_THING")?;
    let seen: Value = serde_json::from_str(&ended.out)?;
    ensure!(seen["status"]["CapEff"] == "0000000000000020", "CapEff: {}", seen["status"]["CapEff"]);
    Ok(())
}

fn unraisable(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    let caps = json!(["CAP_KILL"]);
    // Not inheritable: the kernel refuses to raise it.
    bundle.set(
        "/process/capabilities",
        json!({"bounding": caps, "effective": caps, "permitted": caps, "ambient": ["CAP_CHOWN"]}),
    )?;
    let seen: Value = serde_json::from_str(&ctx.run(&bundle, &ctx.id("c"))?.success()?.out)?;
    ensure!(seen["status"]["CapAmb"] == EMPTY, "CapAmb: {}", seen["status"]["CapAmb"]);
    Ok(())
}

fn exec_cap(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let ended =
        ctx.rt(&["exec", "--cap", "CAP_CHOWN", "--cap", "CAP_SETUID", &id, "/probe", "show"])?.success()?;
    let seen: Value = serde_json::from_str(&ended.out)?;
    for set in ["CapInh", "CapAmb"] {
        ensure!(seen["status"][set] == EMPTY, "{set}: {}", seen["status"][set]);
    }
    let effective = u64::from_str_radix(seen["status"]["CapEff"].as_str().unwrap_or_default(), 16)?;
    ensure!(effective & 0x81 == 0x81, "CapEff: {effective:x}");
    Ok(())
}

fn refused(ctx: &Ctx) -> Result<()> {
    let words = [
        "mount",
        "none",
        "/tmp",
        "tmpfs",
        "-",
        ",",
        "sethostname",
        "x",
        ",",
        "mknod",
        "/tmp/n",
        "c",
        "1",
        "3",
    ];
    let seen = ctx.output(&ctx.bundle(&words)?)?;
    ensure!(
        seen == "mount none /tmp tmpfs -: EPERM\nsethostname x: EPERM\nmknod /tmp/n c 1 3: EPERM\n",
        "{seen}"
    );
    Ok(())
}
