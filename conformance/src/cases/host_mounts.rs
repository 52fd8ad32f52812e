//! What a container does to the host's mounts. Most cases are of one without a mount namespace of its own: its mounts are made among the
//! caller's, and its root is entered by chroot(2).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::namespaces::{with_user_range, without};
use crate::bundle::{Bundle, remove};
use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Ended};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "host-mounts/the-directory-is-the-root",
        source: "runc host-mntns.bats; runtime-spec config-linux.md#namespaces: the caller's where none is listed",
        needs: &[Need::Root],
        run: the_root,
    },
    Case {
        name: "host-mounts/exec-is-in-the-container",
        source: "runtime-spec: exec runs in the container; without a mount namespace nothing but a chroot leads into its root",
        needs: &[Need::Root],
        run: exec,
    },
    Case {
        name: "host-mounts/the-host-s-propagation-stays",
        source: "mount_namespaces(7): what the host shares with others is not the container's to change",
        needs: &[Need::Root],
        run: propagation,
    },
    Case {
        name: "host-mounts/a-shared-root-takes-none-away",
        source: "runtime-spec config-linux.md#rootfs-mount-propagation; mount_namespaces(7): an unmount spreads to peers",
        needs: &[Need::Root],
        run: shared_root,
    },
    Case {
        name: "host-mounts/what-a-mapped-container-mounts-on-a-bind-stays-in-it",
        source: "runc userns.bats: a bind of the host's /sys; mount_namespaces(7): a copy of a shared mount is its peer",
        needs: &[Need::Root],
        run: mounted_on_a_bind,
    },
    Case {
        name: "host-mounts/a-failed-creation-leaves-none",
        source: "runtime-spec runtime.md#create: an error leaves nothing",
        needs: &[Need::Root],
        run: failed,
    },
];

/// What the probe lists of the bundle's root.
const TOP: &str = "bin dev etc probe proc sys tmp\n";

fn bundle(ctx: &Ctx, words: &[&str]) -> Result<Bundle> {
    let bundle = ctx.bundle(words)?;
    bundle.edit(|config: &mut Value| {
        without(config, "mount");
        remove(config, "/linux/maskedPaths");
        remove(config, "/linux/readonlyPaths");
    })?;
    Ok(bundle)
}

/// In a mount namespace that is shared with nobody and looks like a host's: `$bundle` and `$id` are the container's,
/// and `$@` is the runtime.
fn script(ctx: &Ctx, bundle: &Bundle, script: &str) -> Result<Ended> {
    let runtime = ctx.runtime();
    let mut command = std::process::Command::new("unshare");
    // Private first: the host's mounts are shared with this namespace else, and what is mounted here would appear there.
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("mount --make-rshared / || exit 8; bundle=$1 id=$2; shift 2; {script}")).arg("sh");
    command.args([bundle.path()?, &ctx.id("c")]).arg(runtime.get_program()).args(runtime.get_args());
    process::run(&mut command, BOUND)
}

/// Sources that a mapped root may not reach are copied before the container has a mount namespace.
fn mounted_on_a_bind(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("source");
    std::fs::create_dir_all(source.join("below"))?;
    let bundle = ctx.bundle(&["wait"])?;
    bundle.edit(with_user_range)?;
    bundle.mount(json!({"destination": "/tmp", "type": "bind", "source": source, "options": ["rbind"]}))?;
    bundle.mount(json!({"destination": "/tmp/below", "type": "tmpfs", "source": "tmpfs"}))?;
    let counted = |before: &str, place: &std::path::Path| {
        let create = r#""$@" create --bundle "$bundle" "$id""#;
        let count = format!("grep -c -F ' {} ' /proc/self/mountinfo", place.display());
        script(ctx, &bundle, &format!(r#"{before} {create} && {count}; "$@" delete --force "$id""#))
    };
    counted("", &source.join("below"))?.success()?.out("0\n")?;
    // What is mounted in the root is copied with it.
    let inside = bundle.root().join("sys");
    counted(&format!("mount -t tmpfs tmpfs '{}' &&", inside.display()), &inside)?
        .success()?
        .out("1\n")
        .map(drop)
}

fn the_root(ctx: &Ctx) -> Result<()> {
    let bundle = bundle(ctx, &["list", "/", ",", "readlink", "/proc/1/exe"])?;
    let ended = script(ctx, &bundle, r#""$@" run --bundle "$bundle" "$id""#)?;
    ended.success()?.out(&format!("{TOP}readlink /proc/1/exe: /probe\n"))?;
    Ok(())
}

fn exec(ctx: &Ctx) -> Result<()> {
    let bundle = bundle(ctx, &["wait"])?;
    let ended = script(
        ctx,
        &bundle,
        r#""$@" run --detach --bundle "$bundle" "$id" </dev/null >/dev/null 2>&1 || exit 9
           "$@" exec "$id" /probe list /; code=$?
           "$@" delete --force "$id" >/dev/null; exit $code"#,
    )?;
    ended.success()?.out(TOP)?;
    Ok(())
}

/// Where mounts are.
const ALL: &str = "cut -d ' ' -f 5 /proc/self/mountinfo";

/// Of the caller's root.
const ROOT: &str = "grep ' / / ' /proc/self/mountinfo";

fn propagation(ctx: &Ctx) -> Result<()> {
    let bundle = bundle(ctx, &["print", "it ran"])?;
    let ended = script(ctx, &bundle, &format!(r#"{ROOT}; "$@" run --bundle "$bundle" "$id"; {ROOT}"#))?;
    let out = ended.success()?.out;
    let (before, after) = out.split_once("it ran\n").unwrap_or((&out, ""));
    ensure!(before.contains(" shared:") && before == after, "{out}");
    Ok(())
}

fn shared_root(ctx: &Ctx) -> Result<()> {
    for (kind, flag) in [("shared", ""), ("rshared", ""), ("rshared", "--no-pivot")] {
        let bundle = ctx.bundle_named(&format!("{kind}{flag}"), &["print", "it ran"])?;
        bundle.set("/linux/rootfsPropagation", kind.into())?;
        let run = format!(r#""$@" run {flag} --bundle "$bundle" "$id""#);
        let ended = script(ctx, &bundle, &format!("{ALL}; {run}; {ALL}"))?;
        let (before, after) = ended.out.split_once("it ran\n").unwrap_or((&ended.out, ""));
        let gone: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
        ensure!(
            ended.code == 0 && gone.is_empty(),
            "{kind} {flag}: the host has lost {gone:?}; {}",
            ended.err
        );
    }
    Ok(())
}

fn failed(ctx: &Ctx) -> Result<()> {
    let bundle = bundle(ctx, &["wait"])?;
    bundle.set("/process/args/0", "/absent".into())?;
    let mounts = r#"grep -c -F "$bundle" /proc/self/mountinfo"#;
    let ended = script(ctx, &bundle, &format!(r#""$@" create --bundle "$bundle" "$id"; echo $?; {mounts}"#))?;
    ended.code(1)?.out("1\n0\n")?;
    Ok(())
}
