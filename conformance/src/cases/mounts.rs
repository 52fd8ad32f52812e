//! Mounts, masked and read-only paths, the root file system.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "mounts/root-is-the-bundles",
        source: "runtime-spec config.md#root",
        needs: &[],
        run: root_is_ours,
    },
    Case {
        name: "mounts/readonly-root",
        source: "runtime-spec config.md#root: readonly",
        needs: &[],
        run: readonly_root,
    },
    Case {
        name: "mounts/bind-a-directory-and-a-file",
        source: "runtime-spec config.md#mounts",
        needs: &[],
        run: bind,
    },
    Case {
        name: "mounts/bind-options",
        source: "runtime-spec config.md#linux-mount-options",
        needs: &[],
        run: bind_options,
    },
    Case {
        name: "mounts/a-tmpfs-inherits-the-mode-below",
        source: "runc: a tmpfs takes the mode of the directory it covers",
        needs: &[],
        run: tmpfs_mode,
    },
    Case {
        name: "mounts/tmpcopyup",
        source: "runtime-spec config.md: tmpcopyup",
        needs: &[],
        run: tmpcopyup,
    },
    Case {
        name: "mounts/an-overlay-with-long-options",
        source: "runtime-spec config.md#mounts: options; podman's --mount type=image and -v ...:O name directories of the image store",
        needs: &[],
        run: long_options,
    },
    Case {
        name: "mounts/masked-paths",
        source: "runtime-spec config-linux.md#masked-paths",
        needs: &[],
        run: masked,
    },
    Case {
        name: "mounts/readonly-paths",
        source: "runtime-spec config-linux.md#readonly-paths",
        needs: &[],
        run: readonly_paths,
    },
    Case {
        name: "mounts/default-devices",
        source: "runtime-spec config-linux.md#default-devices",
        needs: &[],
        run: default_devices,
    },
    Case {
        name: "mounts/dev-links",
        source: "runtime-spec runtime-linux.md#dev-symbolic-links",
        needs: &[],
        run: dev_links,
    },
    Case {
        name: "mounts/nothing-of-the-host-is-visible",
        source: "runtime-spec: pivot_root; the old root is unmounted",
        needs: &[],
        run: host_is_gone,
    },
    Case {
        name: "mounts/a-missing-source-is-an-error",
        source: "runc: the error names the source",
        needs: &[],
        run: missing_source,
    },
    Case {
        name: "mounts/a-bind-source-inside-the-rootfs",
        source: "facts/runtime-compat: an earlier mount may make the source of a later one",
        needs: &[],
        run: source_inside,
    },
    Case {
        name: "mounts/a-dangling-link-in-the-destination",
        source: "facts/runtime-compat: resolved inside the rootfs, made there",
        needs: &[],
        run: dangling,
    },
    Case {
        name: "mounts/propagation",
        source: "runtime-spec config-linux.md#rootfs-mount-propagation",
        needs: &[Need::Root],
        run: propagation,
    },
];

fn root_is_ours(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["list", "/"])?;
    ensure!(ctx.output(&bundle)? == "bin dev etc probe proc sys tmp\n", "/: {}", ctx.output(&bundle)?);
    Ok(())
}

fn readonly_root(ctx: &Ctx) -> Result<()> {
    let bundle =
        ctx.bundle(&["write", "/x", "1", ",", "write", "/tmp/x", "1", ",", "write", "/dev/shm/x", "1"])?;
    bundle.set("/root/readonly", json!(true))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "write /x 1: EROFS\nwrite /tmp/x 1: EROFS\nwrite /dev/shm/x 1: ok\n", "{seen}");
    Ok(())
}

fn bind(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("source");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("file"), "inside\n")?;
    let bundle = ctx.bundle(&[
        "cat",
        "/a/new/dir/file",
        ",",
        "cat",
        "/etc/one",
        ",",
        "write",
        "/a/new/dir/made",
        "1",
    ])?;
    bundle.mount(
        json!({"destination": "/a/new/dir", "type": "bind", "source": source, "options": ["rbind"]}),
    )?;
    bundle.mount(json!({"destination": "/etc/one", "type": "bind", "source": source.join("file"), "options": ["bind", "ro"]}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "inside\ninside\nwrite /a/new/dir/made 1: ok\n", "{seen}");
    ensure!(source.join("made").exists(), "the write did not reach the source");
    Ok(())
}

fn bind_options(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("source");
    std::fs::create_dir(&source)?;
    let bundle = ctx.bundle(&["show"])?;
    let options = json!(["bind", "ro", "nosuid", "nodev", "noexec"]);
    bundle.mount(json!({"destination": "/a", "type": "bind", "source": source, "options": options}))?;
    let seen = ctx.show(&bundle)?;
    let mount = find(&seen, "/a")?;
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        ensure!(
            mount["flags"].as_array().is_some_and(|f| f.contains(&json!(flag))),
            "{flag} is missing: {mount}"
        );
    }
    Ok(())
}

/// The last mount at that place.
fn find<'a>(seen: &'a Value, at: &str) -> Result<&'a Value> {
    let mounts = seen["mounts"].as_array().context("the probe lists mounts")?;
    mounts.iter().rev().find(|m| m["at"] == at).with_context(|| format!("find a mount on {at}"))
}

fn tmpfs_mode(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["stat", "/covered"])?;
    std::fs::create_dir(bundle.root().join("covered"))?;
    std::fs::set_permissions(bundle.root().join("covered"), std::fs::Permissions::from_mode(0o1751))?;
    bundle.mount(
        json!({"destination": "/covered", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]}),
    )?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen.starts_with("stat /covered: dir 1751 "), "{seen}");
    Ok(())
}

fn tmpcopyup(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["cat", "/full/file", ",", "write", "/full/new", "1"])?;
    std::fs::create_dir(bundle.root().join("full"))?;
    std::fs::write(bundle.root().join("full/file"), "copied\n")?;
    bundle.mount(
        json!({"destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
    )?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "copied\nwrite /full/new 1: ok\n", "{seen}");
    ensure!(!bundle.root().join("full/new").exists(), "the write reached the root file system");
    Ok(())
}

/// fsconfig(2) takes 255 bytes in a value, mount(2) a page.
fn long_options(ctx: &Ctx) -> Result<()> {
    let directory = |name: &str| -> Result<String> {
        let dir = ctx.path(name).join("long".repeat(50));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(name), "x")?;
        Ok(dir.to_str().context("a path of the case's is UTF-8")?.to_owned())
    };
    let layers = [directory("one")?, directory("two")?];
    let bundle = ctx.bundle(&["list", "/over", ",", "write", "/over/new", "1", ",", "show"])?;
    let options = json!([format!("lowerdir={}", layers.join(":")), "nodev", "private", "userxattr"]);
    bundle
        .mount(json!({"destination": "/over", "type": "overlay", "source": layers[0], "options": options}))?;
    let seen = ctx.output(&bundle)?;
    let rest = seen.strip_prefix("one two\nwrite /over/new 1: EROFS\n").with_context(|| seen.clone())?;
    let mount = find(&serde_json::from_str(rest)?, "/over")?.clone();
    ensure!(mount["flags"].as_array().is_some_and(|f| f.contains(&json!("nodev"))), "{mount}");
    Ok(())
}

fn masked(ctx: &Ctx) -> Result<()> {
    let words =
        ["cat", "/secret", ",", "list", "/hidden", ",", "write", "/hidden/x", "1", ",", "print", "end"];
    let bundle = ctx.bundle(&words)?;
    std::fs::create_dir(bundle.root().join("hidden"))?;
    std::fs::write(bundle.root().join("hidden/file"), "x")?;
    std::fs::write(bundle.root().join("secret"), "x")?;
    bundle.set("/linux/maskedPaths", json!(["/secret", "/hidden", "/hidden", "/not/there"]))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "\nwrite /hidden/x 1: EROFS\nend\n", "{seen:?}");
    Ok(())
}

fn readonly_paths(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/fixed/x", "1", ",", "write", "/free", "1"])?;
    std::fs::create_dir(bundle.root().join("fixed"))?;
    bundle.set("/linux/readonlyPaths", json!(["/fixed", "/not/there"]))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "write /fixed/x 1: EROFS\nwrite /free 1: ok\n", "{seen}");
    Ok(())
}

fn default_devices(ctx: &Ctx) -> Result<()> {
    let devices = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ];
    let paths: Vec<String> = devices.iter().map(|(name, _)| format!("/dev/{name}")).collect();
    let words: Vec<&str> = paths.iter().flat_map(|path| ["stat", path.as_str(), ","]).collect();
    let bundle = ctx.bundle(&[&words[..], &["open", "/dev/null", "w"]].concat())?;
    let seen = ctx.output(&bundle)?;
    for (name, number) in devices {
        let line = seen.lines().find(|l| l.starts_with(&format!("stat /dev/{name}:"))).unwrap_or_default();
        ensure!(line.contains(": char 0666 ") && line.ends_with(number), "{name}: {line}");
    }
    ensure!(seen.ends_with("open /dev/null w: ok\n"), "{seen}");
    Ok(())
}

fn dev_links(ctx: &Ctx) -> Result<()> {
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    let paths: Vec<String> = links.iter().map(|(name, _)| format!("/dev/{name}")).collect();
    let words: Vec<&str> = paths.iter().flat_map(|path| ["readlink", path.as_str(), ","]).collect();
    let bundle = ctx.bundle(&[&words[..], &["open", "/dev/ptmx", "r"]].concat())?;
    // Some list it as a device, which it is in the host's /dev.
    bundle.set("/linux/devices", json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]))?;
    let seen = ctx.output(&bundle)?;
    for (name, target) in links {
        ensure!(seen.contains(&format!("readlink /dev/{name}: {target}\n")), "{name}: {seen}");
    }
    ensure!(seen.ends_with("open /dev/ptmx r: ok\n"), "{seen}");
    Ok(())
}

fn host_is_gone(ctx: &Ctx) -> Result<()> {
    let seen = ctx.show(&ctx.bundle(&["show"])?)?;
    let mounts = seen["mounts"].as_array().context("the probe lists mounts")?;
    let allowed = ["/", "/proc", "/dev", "/sys"];
    let strange = mounts
        .iter()
        .filter_map(|m| m["at"].as_str())
        .find(|at| !allowed.iter().any(|a| at == a || (*a != "/" && at.starts_with(&format!("{a}/")))));
    ensure!(strange.is_none(), "a mount of the host: {strange:?}");
    let roots = mounts.iter().filter(|m| m["at"] == "/").count();
    ensure!(roots == 1, "{roots} mounts on /");
    Ok(())
}

fn missing_source(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.mount(
        json!({"destination": "/a", "type": "bind", "source": "/no/such/source", "options": ["bind"]}),
    )?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("/no/such/source")?;
    Ok(())
}

fn source_inside(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("source");
    std::fs::create_dir_all(source.join("deep"))?;
    std::fs::write(source.join("deep/file"), "through two\n")?;
    let bundle = ctx.bundle(&["cat", "/second/file"])?;
    bundle.mount(json!({"destination": "/first", "type": "bind", "source": source, "options": ["bind"]}))?;
    let inside = bundle.root().join("first/deep");
    bundle.mount(json!({"destination": "/second", "type": "bind", "source": inside, "options": ["bind"]}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "through two\n", "{seen}");
    Ok(())
}

fn dangling(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("source");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("file"), "inside\n")?;
    let bundle = ctx.bundle(&["cat", "/link/file"])?;
    let outside = ctx.path("outside");
    std::os::unix::fs::symlink(&outside, bundle.root().join("link"))?;
    bundle.mount(json!({"destination": "/link", "type": "bind", "source": source, "options": ["bind"]}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "inside\n", "{seen}");
    ensure!(!outside.exists(), "the runtime made {} on the host", outside.display());
    Ok(())
}

fn propagation(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("source");
    std::fs::create_dir(&source)?;
    let bundle = ctx.bundle(&["show"])?;
    bundle.mount(
        json!({"destination": "/a", "type": "bind", "source": source, "options": ["bind", "rprivate"]}),
    )?;
    let seen = ctx.show(&bundle)?;
    let fields = find(&seen, "/a")?["propagation"].clone();
    ensure!(fields == json!([]), "rprivate: {fields}");
    bundle.mount(
        json!({"destination": "/b", "type": "bind", "source": source, "options": ["bind", "rshared"]}),
    )?;
    let seen = ctx.show(&bundle)?;
    let fields = find(&seen, "/b")?["propagation"].to_string();
    ensure!(fields.contains("shared:"), "rshared: {fields}");
    Ok(())
}
