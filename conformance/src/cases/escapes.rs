//! The known escapes, one case a class of facts/security.md: the image, its files and its paths are hostile.

use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use serde_json::json;

use super::overwriting;
use crate::bundle::remove;
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "escapes/the-runtime-cannot-be-overwritten",
        source: "CVE-2019-5736: through /proc/PID/exe, for run and exec",
        needs: &[],
        run: overwriting::hunt,
    },
    Case {
        name: "escapes/cwd-through-a-descriptor",
        source: "CVE-2024-21626: cwd /proc/self/fd/N",
        needs: &[],
        run: cwd,
    },
    Case {
        name: "escapes/exec-cwd-through-a-descriptor",
        source: "CVE-2024-21626",
        needs: &[],
        run: exec_cwd,
    },
    Case {
        name: "escapes/proc-is-a-link",
        source: "CVE-2019-19921, CVE-2023-27561",
        needs: &[],
        run: proc_link,
    },
    Case { name: "escapes/sys-is-a-link", source: "CVE-2023-28642", needs: &[], run: sys_link },
    Case { name: "escapes/mount-over-proc", source: "CVE-2019-16884", needs: &[], run: over_proc },
    Case {
        name: "escapes/dev-is-a-link",
        source: "CVE-2026-41579, CVE-2026-47766",
        needs: &[Need::Root],
        run: dev_link,
    },
    Case {
        name: "escapes/dev-null-is-not-a-device",
        source: "CVE-2025-31133: the mask's source is checked",
        needs: &[],
        run: fake_null,
    },
    Case {
        name: "escapes/a-destination-that-is-swapped",
        source: "CVE-2021-30465: a symlink raced into a mount's destination",
        needs: &[Need::Root],
        run: swapped,
    },
    Case {
        name: "escapes/passwd-is-a-fifo",
        source: "CVE-2025-4437: opened without blocking",
        needs: &[],
        run: passwd_fifo,
    },
    Case {
        name: "escapes/passwd-is-endless",
        source: "CVE-2025-4437: a size cap",
        needs: &[],
        run: passwd_zero,
    },
    Case {
        name: "escapes/passwd-is-a-link-to-the-host",
        source: "facts/security: every touch of the root resolves in the root",
        needs: &[],
        run: passwd_link,
    },
    Case {
        name: "escapes/cgroups-are-read-only",
        source: "CVE-2023-25809: read-only where the configuration says so",
        needs: &[],
        run: cgroup_write,
    },
    Case {
        name: "escapes/thousands-of-mappings",
        source: "CVE-2021-43784: netlink length",
        needs: &[Need::Root],
        run: mappings,
    },
    Case {
        name: "escapes/a-root-that-is-a-link-out",
        source: "facts/security: the rootfs itself is a symlink",
        needs: &[],
        run: linked_root,
    },
    Case {
        name: "escapes/proc-is-masked-and-fixed",
        source: "runtime-spec config-linux.md#masked-paths",
        needs: &[],
        run: proc_writes,
    },
];

fn cwd(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["list", "."])?;
    for number in 3..16 {
        bundle.set("/process/cwd", json!(format!("/proc/self/fd/{number}")))?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?;
        ensure!(
            ended.code != 0,
            "{}",
            ended.unexpected(&format!("descriptor {number} is a working directory"))
        );
    }
    Ok(())
}

fn exec_cwd(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    for number in 3..16 {
        let ended =
            ctx.rt(&["exec", "--cwd", &format!("/proc/self/fd/{number}"), &id, "/probe", "list", "."])?;
        ensure!(
            ended.code != 0,
            "{}",
            ended.unexpected(&format!("descriptor {number} is a working directory"))
        );
    }
    Ok(())
}

fn linked(root: &Path, name: &str, target: &Path) -> Result<()> {
    std::fs::remove_dir(root.join(name))?;
    Ok(symlink(target, root.join(name))?)
}

fn proc_link(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    linked(&bundle.root(), "proc", Path::new("/tmp"))?;
    ctx.run(&bundle, &ctx.id("c"))?
        .failure()?
        .says("/proc")?
        .says("must be mounted on ordinary directory")?;
    Ok(())
}

fn sys_link(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    // For an ordinary user /sys is a bind mount, to which the rule does not apply.
    bundle.edit(|config| {
        if let Some(list) = config.pointer_mut("/mounts").and_then(serde_json::Value::as_array_mut) {
            list.retain(|m| m["destination"] != "/sys");
            list.push(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}));
        }
    })?;
    linked(&bundle.root(), "sys", Path::new("/tmp"))?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("must be mounted on ordinary directory")?;
    Ok(())
}

fn over_proc(ctx: &Ctx) -> Result<()> {
    let source = ctx.path("source");
    std::fs::create_dir(&source)?;
    for destination in ["/proc", "/proc/self", "/proc/sys", "/proc/self/attr"] {
        let bundle = ctx.bundle_named(&destination.replace('/', "-"), &["exit", "0"])?;
        bundle.mount(
            json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]}),
        )?;
        ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("/proc")?;
    }
    Ok(())
}

/// `/dev` of the image leads to a directory of the host, and nothing is mounted on it: devices and links must not follow.
fn dev_link(ctx: &Ctx) -> Result<()> {
    let outside = ctx.path("outside");
    std::fs::create_dir(&outside)?;
    for name in ["null", "ptmx", "keep"] {
        std::fs::write(outside.join(name), "mine")?;
    }
    let bundle = ctx.bundle(&["exit", "0"])?;
    linked(&bundle.root(), "dev", &outside)?;
    bundle.edit(|config| {
        if let Some(list) = config.pointer_mut("/mounts").and_then(serde_json::Value::as_array_mut) {
            list.retain(|m| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
        }
        remove(config, "/linux/maskedPaths");
    })?;
    // Refusing and resolving inside are both right.
    let _ended = ctx.run(&bundle, &ctx.id("c"))?;
    let mut names: Vec<_> = std::fs::read_dir(&outside)?
        .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    ensure!(names == ["keep", "null", "ptmx"], "the host's directory now holds {names:?}");
    for name in names {
        ensure!(std::fs::read_to_string(outside.join(&name))? == "mine", "the host's {name} has changed");
    }
    Ok(())
}

/// The image's own /dev is used, and its /dev/null is a link to a secret that masking would then show.
fn fake_null(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["cat", "/masked"])?;
    std::fs::write(bundle.root().join("masked"), "secret")?;
    std::fs::write(bundle.root().join("bait"), "bait")?;
    bundle.edit(|config| {
        if let Some(list) = config.pointer_mut("/mounts").and_then(serde_json::Value::as_array_mut) {
            list.retain(|m| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
        }
        crate::bundle::put(config, "/linux/maskedPaths", json!(["/masked"]));
    })?;
    symlink("/bait", bundle.root().join("dev/null"))?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?;
    ensure!(
        !ended.out.contains("bait") && !ended.out.contains("secret"),
        "{}",
        ended.unexpected("the mask shows a file")
    );
    Ok(())
}

fn swapped(ctx: &Ctx) -> Result<()> {
    let (source, outside) = (ctx.path("source"), ctx.path("outside"));
    std::fs::create_dir(&source)?;
    std::fs::create_dir(&outside)?;
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.mount(
        json!({"destination": "/a/made/below", "type": "bind", "source": source, "options": ["bind"]}),
    )?;
    let (place, spare) = (bundle.root().join("a"), bundle.root().join("spare"));
    std::fs::create_dir(&place)?;
    symlink(&outside, &spare)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Exchanged in one step: the destination is always one of the two.
                let _swapped = nix::fcntl::renameat2(
                    nix::fcntl::AT_FDCWD,
                    &place,
                    nix::fcntl::AT_FDCWD,
                    &spare,
                    nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                );
            }
        });
        let verdict = (0..40).try_for_each(|_| {
            let _ended = ctx.run(&bundle, &ctx.id("c"))?;
            ensure!(
                std::fs::read_dir(&outside)?.next().is_none(),
                "the runtime made a directory on the host"
            );
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        verdict
    })
}

fn hostile_passwd(ctx: &Ctx, make: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
    let bundle = ctx.bundle(&["show"])?;
    make(&bundle.root().join("etc/passwd"))?;
    // Whether it is refused or overlooked is the runtime's choice: it must only end, which the bound of a command checks.
    Ok(ctx.run(&bundle, &ctx.id("c"))?.out)
}

fn passwd_fifo(ctx: &Ctx) -> Result<()> {
    hostile_passwd(ctx, |path| {
        Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o666))?)
    })?;
    Ok(())
}

fn passwd_zero(ctx: &Ctx) -> Result<()> {
    hostile_passwd(ctx, |path| Ok(symlink("/dev/zero", path)?))?;
    Ok(())
}

fn passwd_link(ctx: &Ctx) -> Result<()> {
    let fake: PathBuf = ctx.path("passwd");
    std::fs::write(&fake, "root:x:0:0::/from/the/host:/bin/sh\n")?;
    let out = hostile_passwd(ctx, |path| Ok(symlink(&fake, path)?))?;
    ensure!(!out.contains("/from/the/host"), "HOME comes from a file of the host");
    Ok(())
}

fn cgroup_write(ctx: &Ctx) -> Result<()> {
    // On v1 the hierarchies are below a tmpfs of the container's own, which is no cgroup.
    let places: &[&str] = if ctx.host.pure_v2 {
        &["/sys/fs/cgroup"]
    } else {
        &["/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"]
    };
    let names: Vec<(String, String)> =
        places.iter().map(|p| (format!("{p}/x"), format!("{p}/cgroup.procs"))).collect();
    let words: Vec<&str> =
        names.iter().flat_map(|(dir, file)| ["mkdir", dir, ",", "write", file, "1", ","]).collect();
    let bundle = ctx.bundle(&[&words[..], &["print", "end"]].concat())?;
    bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "ro"]}))?;
    let caps = json!(["CAP_DAC_OVERRIDE"]);
    bundle.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?;
    ensure!(!ended.out.lines().any(|line| line.ends_with(": ok")), "{}", ended.out);
    Ok(())
}

fn mappings(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let many: Vec<_> =
        (0..5000_u32).map(|n| json!({"containerID": n, "hostID": 200_000 + n, "size": 1})).collect();
    bundle.edit(|config| {
        crate::bundle::push(config, "/linux/namespaces", json!({"type": "user"}));
        crate::bundle::put(config, "/linux/uidMappings", json!(many));
        crate::bundle::put(config, "/linux/gidMappings", json!(many));
    })?;
    let ended = ctx.run(&bundle, &ctx.id("c"))?.failure()?;
    ensure!(!ended.err.contains("panic"), "{}", ended.unexpected("a panic"));
    Ok(())
}

fn linked_root(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["list", "/"])?;
    let elsewhere = ctx.path("elsewhere");
    std::fs::rename(bundle.root(), &elsewhere)?;
    symlink(&elsewhere, bundle.root())?;
    // runc refuses a rootfs that is a link; following it to the same files is harmless. What counts: it is that tree and no other.
    let ended = ctx.run(&bundle, &ctx.id("c"))?;
    ensure!(
        ended.code != 0 || ended.out == "bin dev etc probe proc sys tmp\n",
        "{}",
        ended.unexpected("another root")
    );
    Ok(())
}

fn proc_writes(ctx: &Ctx) -> Result<()> {
    let words = [
        "write",
        "/proc/sys/kernel/core_pattern",
        "|/x",
        ",",
        "open",
        "/proc/sysrq-trigger",
        "w",
        ",",
        "cat",
        "/proc/kcore",
        ",",
        "list",
        "/proc/scsi",
    ];
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let ended = ctx.run(&ctx.bundle(&words)?, &ctx.id("c"))?;
    ensure!(
        std::fs::read_to_string("/proc/sys/kernel/core_pattern")? == before,
        "the host's core_pattern has changed"
    );
    ensure!(!ended.out.lines().any(|line| line.ends_with(": ok")), "{}", ended.out);
    let kcore = std::fs::metadata("/proc/kcore").map(|m| m.file_type().is_char_device());
    ensure!(kcore.is_err() || ended.out.len() < 1000, "the kernel's memory can be read");
    Ok(())
}
