//! Bad input: each is refused with an error that names the fault, and leaves nothing behind.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::bundle::{put, remove};
use crate::case::{Case, Ctx, not_run};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "errors/missing-program",
        source: "runc run; podman and Docker read the text",
        needs: &[],
        run: missing_program,
    },
    Case { name: "errors/missing-bundle", source: "runc run", needs: &[], run: missing_bundle },
    Case { name: "errors/missing-rootfs", source: "runc run", needs: &[], run: missing_rootfs },
    Case { name: "errors/not-json", source: "issue 2: bad input", needs: &[], run: not_json },
    Case {
        name: "errors/wrong-types",
        source: "facts/security: malformed config",
        needs: &[],
        run: wrong_types,
    },
    Case {
        name: "errors/missing-fields",
        source: "runtime-spec config.md: REQUIRED",
        needs: &[],
        run: missing_fields,
    },
    Case {
        name: "errors/bad-values",
        source: "facts/security: malformed config",
        needs: &[],
        run: bad_values,
    },
    Case { name: "errors/strict-ids", source: "facts/security: uid parsing", needs: &[], run: strict_ids },
    Case {
        name: "errors/intel-rdt-without-resctrl",
        source: "runc: intelRdt is specified in config, but Intel RDT is not enabled",
        needs: &[],
        run: rdt,
    },
    Case {
        name: "errors/bad-container-ids",
        source: "runc: ids match [\\w+-\\.]",
        needs: &[],
        run: bad_container_ids,
    },
    Case {
        name: "errors/unknown-container",
        source: "runc: container does not exist",
        needs: &[],
        run: unknown_container,
    },
    Case {
        name: "errors/unknown-verb-and-flag",
        source: "runc's command line",
        needs: &[],
        run: unknown_verb,
    },
];

fn missing_program(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.set("/process/args", json!(["nosuch"]))?;
    ctx.run(&bundle, &ctx.id("a"))?
        .failure()?
        .says("exec: \"nosuch\": executable file not found in $PATH")?;
    bundle.set("/process/args", json!(["/no/such"]))?;
    ctx.run(&bundle, &ctx.id("b"))?.failure()?.says("no such file or directory")?;
    bundle.set("/process/args", json!(["/tmp"]))?;
    ctx.run(&bundle, &ctx.id("d"))?.failure()?.says("permission denied")?;
    nothing_left(ctx)
}

fn nothing_left(ctx: &Ctx) -> Result<()> {
    let left: Vec<_> =
        std::fs::read_dir(ctx.state_root()).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    ensure!(left.is_empty(), "state left behind: {left:?}");
    Ok(())
}

fn missing_bundle(ctx: &Ctx) -> Result<()> {
    ctx.rt(&["run", "--bundle", "/no/such/bundle", &ctx.id("c")])?.failure()?.says("/no/such/bundle")?;
    nothing_left(ctx)
}

fn missing_rootfs(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    std::fs::remove_dir_all(bundle.root())?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("rootfs")?;
    nothing_left(ctx)
}

fn not_json(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    for text in ["", "{", "[]", "null", "{\"ociVersion\": \"1.0.2\",}", "\u{0}"] {
        std::fs::write(bundle.dir().join("config.json"), text)?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?;
        ensure!(ended.code != 0, "{}", ended.unexpected(&format!("{text:?} was accepted")));
        ensure!(!ended.err.contains("panic"), "{}", ended.unexpected("a panic"));
    }
    nothing_left(ctx)
}

/// Applies each change to a good configuration; each must be refused in words that contain `says`.
fn refused(ctx: &Ctx, changes: &[(&str, Value, &str)]) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let good = bundle.config()?;
    let mut accepted = Vec::new();
    for (pointer, value, says) in changes {
        let mut config = good.clone();
        put(&mut config, pointer, value.clone());
        bundle.write(&config)?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?;
        if ended.code == 0 {
            accepted.push(format!("{pointer} = {value}"));
            continue;
        }
        ensure!(!ended.err.contains("panic"), "{}", ended.unexpected("a panic"));
        let text = ended.err.to_lowercase();
        ensure!(
            text.contains(&says.to_lowercase()),
            "{}",
            ended.unexpected(&format!("{pointer}: the error does not name {says:?}"))
        );
    }
    ensure!(accepted.is_empty(), "accepted: {}", accepted.join("; "));
    nothing_left(ctx)
}

fn wrong_types(ctx: &Ctx) -> Result<()> {
    refused(
        ctx,
        &[
            ("/process/args", json!("one string"), "args"),
            ("/process/user/uid", json!("0"), "uid"),
            ("/mounts", json!({}), "mounts"),
            ("/linux/namespaces", json!("pid"), "namespaces"),
            ("/root", json!("rootfs"), "root"),
            ("/process/terminal", json!("no"), "terminal"),
        ],
    )
}

fn missing_fields(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let good = bundle.config()?;
    for pointer in ["/ociVersion", "/root", "/process/args", "/process/cwd"] {
        let mut config = good.clone();
        remove(&mut config, pointer);
        bundle.write(&config)?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?;
        ensure!(ended.code != 0, "{}", ended.unexpected(&format!("{pointer} may be absent")));
        ensure!(!ended.err.contains("panic"), "{}", ended.unexpected("a panic"));
    }
    nothing_left(ctx)
}

fn bad_values(ctx: &Ctx) -> Result<()> {
    refused(
        ctx,
        &[
            ("/process/cwd", json!("relative"), "cwd"),
            ("/ociVersion", json!("not a version"), "version"),
            ("/process/args", json!([]), "args"),
            ("/process/args/0", json!("/pro\u{0}be"), ""),
            ("/process/env", json!(["A=\u{0}"]), ""),
            ("/linux/rootfsPropagation", json!("sideways"), "propagation"),
            (
                "/process/rlimits",
                json!([
                    {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}, {"type": "RLIMIT_NOFILE", "soft": 3, "hard": 4},
                ]),
                "rlimit",
            ),
            ("/process/rlimits", json!([{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 2}]), "RLIMIT_NOSUCH"),
            ("/linux/namespaces/0/type", json!("nosuch"), "nosuch"),
        ],
    )
}

fn strict_ids(ctx: &Ctx) -> Result<()> {
    refused(
        ctx,
        &[
            ("/process/user/uid", json!(4_294_967_296_u64), ""),
            ("/process/user/uid", json!(4_294_967_295_u64), ""),
            ("/process/user/uid", json!(-1), ""),
            ("/process/user/gid", json!(4_294_967_296_u64), ""),
            ("/process/user/additionalGids", json!([4_294_967_296_u64]), ""),
            ("/process/user/uid", json!(0.5), ""),
        ],
    )
}

fn bad_container_ids(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let long = "x".repeat(1025);
    for id in ["", ".", "..", "a/b", "../a", "a b", "a\nb", "a\u{1b}[0m", "é", &long] {
        let ended = ctx.run(&bundle, id)?;
        ensure!(ended.code != 0, "{}", ended.unexpected(&format!("the id {id:?} was accepted")));
        ensure!(!ended.err.contains("panic"), "{}", ended.unexpected("a panic"));
    }
    nothing_left(ctx)
}

fn unknown_container(ctx: &Ctx) -> Result<()> {
    let id = ctx.id("nobody");
    for args in [
        &["state", &id][..],
        &["start", &id],
        &["kill", &id, "TERM"],
        &["exec", &id, "/probe"],
        &["delete", &id],
    ] {
        ctx.rt(args)?.failure()?.says("does not exist")?;
    }
    Ok(())
}

fn unknown_verb(ctx: &Ctx) -> Result<()> {
    ctx.rt(&["nosuchverb"])?.failure()?;
    ctx.rt(&["run", "--nosuchflag", "x"])?.failure()?.says("nosuchflag")?;
    ctx.rt(&["run"])?.failure()?;
    Ok(())
}

fn rdt(ctx: &Ctx) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.contains(" - resctrl ") {
        return Err(not_run("a resctrl file system is mounted"));
    }
    let bundle = ctx.bundle(&["print", "it runs"])?;
    bundle.set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true}))?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?.failure()?;
    ensure!(!ended.out.contains("it runs"), "{}", ended.unexpected("it ran"));
    ended.says("intelRdt is specified in config, but Intel RDT is not enabled")?;
    let id = ctx.waiting("w")?;
    let ended = ctx.rt(&["update", "--l3-cache-schema", "L3:0=f", &id])?.failure()?;
    ended.says("Intel RDT/CAT: l3 cache schema is not enabled").map(drop)
}
