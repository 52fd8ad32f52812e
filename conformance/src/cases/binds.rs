//! Bind mounts whose ids are translated, and flags of their source that may not go.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bundle::{push, put};
use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "mounts/idmapped-by-its-own-mappings",
        source: "runtime-spec config.md#posix-platform-mounts: uidMappings, gidMappings",
        needs: &[Need::Root],
        run: own_mappings,
    },
    Case {
        name: "mounts/idmapped-by-a-joined-user-namespace",
        source: "runtime-spec config.md: idmap without mappings takes the container's; runc idmap.bats",
        needs: &[Need::Root],
        run: joined,
    },
    Case {
        name: "mounts/idmapped-within-the-root-of-a-user-namespace",
        source: "runc mounts.bats: mount order, container idmap source (userns); the kernel lets only who owns the file system map its ids",
        needs: &[Need::Root],
        run: within,
    },
    Case {
        name: "mounts/a-locked-flag-is-not-taken-off",
        source: "mount_namespaces(7): flags of mounts from a more privileged namespace are locked; runc mounts_sshfs.bats",
        needs: &[Need::Root],
        run: locked,
    },
];

/// A directory with a file of uid 1 and gid 2.
fn source(ctx: &Ctx) -> Result<String> {
    let dir = ctx.path("source");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("f"), "")?;
    std::os::unix::fs::chown(dir.join("f"), Some(1), Some(2))?;
    Ok(dir.to_str().context("a path that is no text")?.to_owned())
}

fn with_users(config: &mut Value) {
    push(config, "/linux/namespaces", json!({"type": "user"}));
    for key in ["/linux/uidMappings", "/linux/gidMappings"] {
        put(config, key, json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]));
    }
}

fn owner(seen: &str) -> Option<&str> {
    seen.split_whitespace().find(|word| word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit()))
}

fn own_mappings(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["stat", "/mnt/f"])?;
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
    bundle.mount(
        json!({"destination": "/mnt", "type": "bind", "source": source(ctx)?, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map}),
    )?;
    let seen = ctx.output(&bundle)?;
    ensure!(owner(&seen) == Some("5001:5002"), "{seen}");
    Ok(())
}

fn joined(ctx: &Ctx) -> Result<()> {
    let first = ctx.bundle_named("first", &["write", "/tmp/x", "", ",", "wait"])?;
    first.edit(with_users)?;
    let id = ctx.id("first");
    ctx.rt(&["create", "--bundle", first.path()?, &id])?.success()?;
    let path = format!("/proc/{}/ns/user", ctx.pid(&id)?);
    let bundle = ctx.bundle(&["stat", "/mnt/f"])?;
    bundle.edit(|config| push(config, "/linux/namespaces", json!({"type": "user", "path": path})))?;
    // The container's root could not make it.
    std::fs::create_dir(bundle.root().join("mnt"))?;
    let options = json!(["bind", "idmap"]);
    bundle
        .mount(json!({"destination": "/mnt", "type": "bind", "source": source(ctx)?, "options": options}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(owner(&seen) == Some("1:2"), "{seen}");
    Ok(())
}

fn within(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["stat", "/one/f", ",", "stat", "/two/f"])?;
    bundle.edit(with_users)?;
    for name in ["one", "two"] {
        std::fs::create_dir(bundle.root().join(name))?;
    }
    bundle
        .mount(json!({"destination": "/one", "type": "bind", "source": source(ctx)?, "options": ["bind"]}))?;
    let source = bundle.root().join("one");
    bundle.mount(
        json!({"destination": "/two", "type": "bind", "source": source, "options": ["rbind", "idmap"]}),
    )?;
    let seen = ctx.output(&bundle)?;
    let owners: Vec<_> = seen.lines().map(owner).collect();
    ensure!(owners == [Some("65534:65534"), Some("1:2")], "{seen}");
    Ok(())
}

fn locked(ctx: &Ctx) -> Result<()> {
    let dir = source(ctx)?;
    let tmpfs = Mounted::make(Path::new(&dir), "ro,nosuid,noexec,noatime")?;
    for (word, ends) in [
        ("", true),
        ("ro", true),
        ("symfollow", true),
        ("rw", false),
        ("exec", false),
        ("strictatime", false),
    ] {
        let bundle = ctx.bundle_named(&format!("with-{word}"), &["print", "it runs"])?;
        bundle.edit(with_users)?;
        std::fs::create_dir(bundle.root().join("mnt"))?;
        let options: Vec<&str> = ["bind", word].into_iter().filter(|word| !word.is_empty()).collect();
        bundle.mount(json!({"destination": "/mnt", "type": "bind", "source": dir, "options": options}))?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?;
        match ends {
            true => drop(ended.success().with_context(|| format!("with {word:?}"))?),
            false => {
                ensure!(ended.code != 0, "the source's flag went with {word:?}");
                ensure!(ended.err.contains("operation not permitted"), "with {word:?}: {}", ended.err);
            }
        }
    }
    drop(tmpfs);
    Ok(())
}

/// A tmpfs of the host's, gone with the value.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn make(at: &Path, options: &str) -> Result<Self> {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"]).arg(at);
        process::run(&mut mount, BOUND)?.success()?;
        let mounted = Self(at.to_owned());
        // Of the mount and not of the file system.
        let mut change = std::process::Command::new("mount");
        let options = format!("bind,remount,{options}");
        process::run(change.args(["-o", &options]).arg(at), BOUND)?.success()?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut unmount = std::process::Command::new("umount");
        // What stays is found by the worker, and reported.
        drop(process::run(unmount.arg("--lazy").arg(&self.0), BOUND));
    }
}
