//! Older kernels, and the seccomp filters of the containers that a runtime may run in: whole lives without single system calls.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::somebody::{self, Somebody};
use crate::bundle::{Bundle, push, put};
use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Ended};

const SOURCE: &str = "DESIGN: each call that a kernel of 5.4 or an outer filter may lack has a fallback or an error that names it";

const fn case(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case { name, source: SOURCE, needs: &[], run }
}

pub(crate) const CASES: &[Case] = &[
    case("kernel/without-clone3", |ctx| lives(ctx, "clone3")),
    case("kernel/without-openat2", |ctx| lives(ctx, "openat2")),
    case("kernel/without-fsopen", |ctx| lives(ctx, "fsopen")),
    case("kernel/without-fsconfig", |ctx| lives(ctx, "fsconfig")),
    case("kernel/without-fsmount", |ctx| lives(ctx, "fsmount")),
    case("kernel/without-open_tree", |ctx| lives(ctx, "open_tree_attr,open_tree")),
    case("kernel/without-move_mount", |ctx| lives(ctx, "move_mount")),
    case("kernel/without-open_tree_attr", |ctx| lives(ctx, "open_tree_attr")),
    case("kernel/without-mount_setattr", |ctx| lives(ctx, "open_tree_attr,mount_setattr")),
    case("kernel/without-close_range", |ctx| lives(ctx, "close_range")),
    case("kernel/without-execveat", |ctx| lives(ctx, "execveat")),
    case("kernel/without-memfd_create", |ctx| lives(ctx, "memfd_create")),
    case("kernel/without-statx-and-faccessat2", |ctx| lives(ctx, "statx,faccessat2")),
    case("kernel/without-what-5.4-lacks", |ctx| {
        lives(
            ctx,
            "clone3=E2BIG,openat2,open_tree_attr,mount_setattr,close_range,faccessat2,setns-of-processes=EINVAL",
        )
    }),
    case("kernel/without-every-newer-mount-call", |ctx| {
        lives(ctx, &format!("openat2,{MOUNTING},close_range"))
    }),
    Case {
        name: "kernel/a-user-namespace-without-the-newer-mount-calls",
        source: SOURCE,
        needs: &[Need::Root],
        run: mapped,
    },
    Case { name: "kernel/no-way-out-without-openat2", source: SOURCE, needs: &[Need::Root], run: no_way_out },
    Case {
        name: "kernel/idmapped-mounts-without-mount_setattr-are-an-error",
        source: SOURCE,
        needs: &[Need::Root],
        run: idmap,
    },
    case("kernel/without-pidfds-is-an-error-that-says-so", pidfds),
    case("kernel/hooks-without-memfd_create", |ctx| hooks(ctx, "memfd_create")),
    case("kernel/hooks-without-clone3", |ctx| hooks(ctx, "clone3")),
    case("kernel/the-table-of-ps-without-clone3", table),
    Case {
        name: "kernel/a-range-through-newuidmap-without-clone3",
        source: SOURCE,
        needs: &[Need::Root, Need::Program("setpriv"), Need::Program("newuidmap")],
        run: ranges,
    },
    Case {
        name: "kernel/the-program-stays-read-only-without-execveat",
        source: "CVE-2019-5736: no container gets hold of the runtime's file in a way that can be written",
        needs: &[Need::Root],
        run: read_only,
    },
    Case {
        name: "kernel/mounts-into-a-running-container-without-the-calls-are-an-error",
        source: SOURCE,
        needs: &[Need::Root],
        run: live_mounts,
    },
];

/// The runtime without these calls; the caller adds the verb.
fn without(ctx: &Ctx, calls: &str) -> Result<Command> {
    let plain = ctx.runtime();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["without", calls, "--"]).arg(plain.get_program()).args(plain.get_args());
    Ok(command)
}

fn run_without(ctx: &Ctx, calls: &str, args: &[&str]) -> Result<Ended> {
    process::run(without(ctx, calls)?.args(args), BOUND)
}

/// Missing as an old kernel says it, and refused as an old filter does.
fn answers(calls: &str) -> Vec<String> {
    let refused: Vec<String> = calls.split(',').map(|call| format!("{call}=EPERM")).collect();
    match calls.contains('=') {
        true => vec![calls.to_owned()],
        false => vec![calls.to_owned(), refused.join(",")],
    }
}

/// The same container with and without the calls: it sees the same, and its whole life goes by.
fn lives(ctx: &Ctx, calls: &str) -> Result<()> {
    let bundle = furnished(ctx, "usual")?;
    let expected = ctx.show(&bundle)?;
    for calls in answers(calls) {
        let ended =
            run_without(ctx, &calls, &["run", "--bundle", bundle.path()?, &ctx.id("c")])?.success()?;
        let seen: Value = serde_json::from_str(&ended.out).context("read what the probe showed")?;
        for part in ["mounts", "descriptors", "status", "uid", "gid", "cwd", "label", "cgroup", "limits"] {
            same(part, &expected, &seen).with_context(|| format!("without {calls}"))?;
        }
    }
    step_by_step(ctx, calls).with_context(|| format!("without {calls}"))
}

fn same(part: &str, expected: &Value, seen: &Value) -> Result<()> {
    let (mut expected, mut seen) = (expected[part].clone(), seen[part].clone());
    for shown in [&mut expected, &mut seen] {
        match part {
            // The filter itself.
            "status" => ["Seccomp", "Seccomp_filters", "NoNewPrivs"].iter().for_each(|key| {
                shown.as_object_mut().map(|all| all.remove(*key));
            }),
            "mounts" => plain(shown),
            // Their numbers; what the outputs are is another file each time.
            "descriptors" => *shown = json!(shown.as_object().map(|all| all.keys().collect::<Vec<_>>())),
            _ => {}
        }
    }
    let rows = |of: &Value, other: &Value| {
        let rows = of.as_array().cloned().unwrap_or_else(|| vec![of.clone()]);
        let missing = |row: &&Value| other.as_array().is_none_or(|other| !other.contains(row));
        json!(rows.iter().filter(missing).collect::<Vec<_>>())
    };
    let (only_seen, lost) = (rows(&seen, &expected), rows(&expected, &seen));
    ensure!(expected == seen, "{part} differ: {only_seen} instead of {lost}");
    Ok(())
}

/// Groups of peers have a new number each time.
fn plain(mounts: &mut Value) {
    for mount in mounts.as_array_mut().into_iter().flatten() {
        let kinds = mount["propagation"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let kinds: Vec<&str> = kinds.map(|text| text.split(':').next().unwrap_or(text)).collect();
        mount["propagation"] = json!(kinds);
    }
}

/// With what the usual mount calls are used for: binds with flags, below one another too, a tmpfs that is filled and read-only,
/// propagation, a file.
fn furnished(ctx: &Ctx, name: &str) -> Result<Bundle> {
    let bundle = ctx.bundle_named(name, &["show"])?;
    let source = ctx.path(format!("{name}-source"));
    std::fs::create_dir_all(source.join("inner"))?;
    std::fs::write(source.join("file"), "text")?;
    let file = source.join("file");
    let full = bundle.root().join("full");
    std::fs::create_dir(&full)?;
    std::fs::write(full.join("seen"), "")?;
    std::os::unix::fs::symlink("/tmp", bundle.root().join("link"))?;
    // Access times of what is mounted are locked for an ordinary user.
    let atime = if ctx.host.root { "noatime" } else { "noexec" };
    bundle.edit(|config| {
        for mount in [
            json!({"destination": "/mnt/bound", "type": "bind", "source": source, "options": ["rbind", "ro", "nosuid", "noexec"]}),
            json!({"destination": "/link/below", "type": "bind", "source": source, "options": ["bind", "nodev", "rslave"]}),
            json!({"destination": "/mnt/file", "type": "bind", "source": file, "options": ["bind", "ro"]}),
            json!({"destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro", "mode=700", "size=1m"]}),
            json!({"destination": "/mnt/again", "type": "bind", "source": full, "options": ["bind", atime]}),
        ] {
            push(config, "/mounts", mount);
        }
        put(config, "/root/readonly", json!(true));
        put(config, "/process/cwd", json!("/mnt/bound/inner"));
    })?;
    Ok(bundle)
}

/// create, start, exec, kill and delete, each without the calls.
fn step_by_step(ctx: &Ctx, calls: &str) -> Result<()> {
    let name = format!("steps-{}", calls.len());
    let bundle = ctx.bundle_named(&name, &["write", "/ready", "", ",", "wait"])?;
    let id = ctx.id(&name);
    run_without(ctx, calls, &["create", "--bundle", bundle.path()?, &id])?.success()?;
    run_without(ctx, calls, &["start", &id])?.success()?;
    process::until("the container's program has started", BOUND, || {
        Ok(bundle.root().join("ready").exists())
    })?;
    run_without(ctx, calls, &["exec", &id, "/bin/probe", "print", "inside"])?.success()?.out("inside\n")?;
    run_without(ctx, calls, &["kill", &id, "KILL"])?.success()?;
    ctx.until_status(&id, "stopped")?;
    run_without(ctx, calls, &["delete", &id])?.success().map(drop)
}

const MOUNTING: &str = "open_tree_attr,open_tree,move_mount,fsopen,fsconfig,fsmount,mount_setattr";

/// Nothing can be handed over, but what the mapped root reaches by itself is mounted for him.
fn mapped(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["stat", "/mnt/f", ",", "cat", "/proc/self/uid_map"])?;
    let dir = ctx.path("source");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("f"), "")?;
    let users = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    bundle.edit(|config| {
        push(config, "/linux/namespaces", json!({"type": "user"}));
        put(config, "/linux/uidMappings", users.clone());
        put(config, "/linux/gidMappings", users);
        push(
            config,
            "/mounts",
            json!({"destination": "/mnt", "type": "bind", "source": dir, "options": ["bind", "ro"]}),
        );
    })?;
    std::fs::create_dir(bundle.root().join("mnt"))?;
    let expected = ctx.output(&bundle)?;
    // As root's home is: the mapped root may not go back to it.
    let hidden = ctx.path("hidden");
    std::fs::DirBuilder::new().mode(0o700).create(&hidden)?;
    for calls in answers(MOUNTING) {
        let mut command = without(ctx, &calls)?;
        command.args(["run", "--bundle", bundle.path()?, &ctx.id("c")]).current_dir(&hidden);
        process::run(&mut command, BOUND)?.success()?.out(&expected)?;
    }
    Ok(())
}

/// Links of an image that lead to the host lead into the image.
fn no_way_out(ctx: &Ctx) -> Result<()> {
    let outside = ctx.path("outside");
    std::fs::create_dir(&outside)?;
    let links: BTreeMap<&str, String> = BTreeMap::from([
        ("absolute", outside.display().to_string()),
        ("up", format!("../../../../../../../../..{}", outside.display())),
        ("chain", "up/../up".to_owned()),
    ]);
    for (name, target) in links {
        let bundle = ctx.bundle_named(name, &["write", "/link/sub/f", "x"])?;
        std::os::unix::fs::symlink(&target, bundle.root().join("link"))?;
        std::fs::create_dir_all(bundle.root().join(outside.strip_prefix("/")?))?;
        if name == "chain" {
            std::os::unix::fs::symlink(format!("../../..{}", outside.display()), bundle.root().join("up"))?;
        }
        let options = json!(["mode=755"]);
        bundle.mount(
            json!({"destination": "/link/sub", "type": "tmpfs", "source": "tmpfs", "options": options}),
        )?;
        let ended = run_without(ctx, "openat2", &["run", "--bundle", bundle.path()?, &ctx.id(name)])?;
        ended.success()?.out("write /link/sub/f x: ok\n")?;
        let found: Vec<_> = std::fs::read_dir(&outside)?.flatten().map(|entry| entry.file_name()).collect();
        ensure!(found.is_empty(), "by a link {target:?} {found:?} was made on the host");
    }
    let bundle = ctx.bundle_named("cwd", &["print", "it runs"])?;
    bundle.set("/process/cwd", json!("/proc/self/fd/0/.."))?;
    let ended = run_without(ctx, "openat2", &["run", "--bundle", bundle.path()?, &ctx.id("cwd")])?;
    ensure!(ended.code != 0, "{}", ended.unexpected("a working directory behind a magic link"));
    Ok(())
}

fn idmap(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "it runs"])?;
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
    let dir = ctx.path("source");
    std::fs::create_dir(&dir)?;
    bundle
        .mount(json!({"destination": "/mnt", "type": "bind", "source": dir, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map}))?;
    let ended = run_without(ctx, "mount_setattr", &["run", "--bundle", bundle.path()?, &ctx.id("c")])?;
    let said = format!(
        "map the ids of the mount source {}: function not implemented (idmapped mounts need mount_setattr, of Linux 5.12)",
        dir.display()
    );
    ended.failure()?.says(&said).map(drop)
}

fn pidfds(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("w")?;
    let hint =
        "needs pidfd_open, of Linux 5.3, which the kernel or a seccomp filter around the runtime has not got";
    run_without(ctx, "pidfd_open", &["kill", &id, "KILL"])?.failure()?.says(hint)?;
    run_without(ctx, "pidfd_open=EPERM", &["exec", &id, "/bin/probe", "print", "x"])?
        .failure()?
        .says(hint)?;
    let hint = "needs pidfd_send_signal, of Linux 5.1, which the kernel or a seccomp filter around the runtime has not got";
    run_without(ctx, "pidfd_send_signal", &["kill", &id, "KILL"])?.failure()?.says(hint)?;
    ensure!(ctx.state(&id)?["status"] == "running", "the container did not live on");
    Ok(())
}

/// All kinds of hooks; then one that fails, whose words are told.
fn hooks(ctx: &Ctx, call: &str) -> Result<()> {
    for (at, calls) in answers(call).into_iter().enumerate() {
        let log = ctx.path(format!("log-{at}"));
        let script = format!("cat >/dev/null; echo $0 >>{}", log.display());
        let hook = |name: &str| json!([{"path": "/bin/sh", "args": [name, "-c", script, name]}]);
        let bundle = ctx.bundle_named(&format!("hooks-{at}"), &["exit", "0"])?;
        let inside = json!([{"path": "/bin/probe", "args": ["probe", "write", "/started", "x"]}]);
        bundle.set(
            "/hooks",
            json!({"prestart": hook("prestart"), "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"),
                "startContainer": inside, "poststart": hook("poststart"), "poststop": hook("poststop")}),
        )?;
        run_without(ctx, &calls, &["run", "--bundle", bundle.path()?, &ctx.id("c")])?.success()?;
        let ran = std::fs::read_to_string(&log)?;
        ensure!(
            ran == "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n",
            "without {calls}: {ran}"
        );
        ensure!(
            bundle.root().join("started").exists(),
            "without {calls} the startContainer hook did not run"
        );
        let failing = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo error >&2; exit 3"]}]);
        bundle.set("/hooks", json!({"createRuntime": failing}))?;
        let ended =
            run_without(ctx, &calls, &["run", "--bundle", bundle.path()?, &ctx.id("f")])?.failure()?;
        ended.says("error running createRuntime hook #0: exit status 3, stdout: out, stderr: error")?;
    }
    Ok(())
}

fn table(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let pid = ctx.pid(&id)?.to_string();
    for calls in answers("clone3") {
        let ended = run_without(ctx, &calls, &["ps", &id])?.success()?;
        ensure!(ended.out.split_whitespace().any(|word| word == pid), "without {calls}: {}", ended.out);
    }
    Ok(())
}

/// For an ordinary user, whose filter is root's: one of his own would take its rights from `newuidmap`.
fn ranges(ctx: &Ctx) -> Result<()> {
    let (user, users, groups) = somebody::with_ranges()?;
    let mut somebody = Somebody::new(ctx, user, &["wait"], |config| {
        let map = |first: u32| json!([{"containerID": 0, "hostID": user, "size": 1}, {"containerID": 1, "hostID": first, "size": 1000}]);
        put(config, "/linux/uidMappings", map(users));
        put(config, "/linux/gidMappings", map(groups));
    })?;
    let expected = [format!("0 {user} 1"), format!("1 {users} 1000")];
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    for (at, calls) in answers("clone3").into_iter().enumerate() {
        somebody.without(&calls);
        let id = ctx.id(&format!("r{at}"));
        somebody.rt(ctx, &["create", "--bundle", somebody.bundle.path()?, &id])?.success()?;
        somebody.rt(ctx, &["start", &id])?.success()?;
        let inside = ["exec", &id, "/probe", "cat", "/proc/1/uid_map"];
        let seen = somebody.rt(ctx, &inside)?.success()?.out;
        ensure!(lines(&seen) == expected, "without {calls}: {seen}");
        somebody.rt(ctx, &["delete", "--force", &id])?.success()?;
    }
    Ok(())
}

/// A container that is created and not started is the runtime still.
fn read_only(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    for calls in answers("execveat") {
        let id = ctx.id("c");
        run_without(ctx, &calls, &["create", "--bundle", bundle.path()?, &id])?.success()?;
        let program = format!("/proc/{}/exe", ctx.pid(&id)?);
        let flags = nix::sys::statvfs::statvfs(program.as_str())?.flags();
        ensure!(
            flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
            "without {calls} it could be written to"
        );
        ctx.rt(&["delete", "--force", &id])?.success()?;
    }
    Ok(())
}

fn live_mounts(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("w")?;
    let (source, file) = (ctx.path("source"), ctx.path("mounts.json"));
    std::fs::create_dir(&source)?;
    let bind = json!([{"destination": "/new", "type": "bind", "source": source, "options": ["bind"]}]);
    let fresh = json!([{"destination": "/new", "type": "tmpfs", "source": "tmpfs"}]);
    for (call, mounts) in
        [("open_tree", &bind), ("move_mount", &bind), ("fsopen", &fresh), ("fsmount", &fresh)]
    {
        std::fs::write(&file, mounts.to_string())?;
        for calls in answers(call) {
            let ended =
                run_without(ctx, &calls, &["mounts", "add", &id, &file.to_string_lossy()])?.failure()?;
            ended.says("a running container gets mounts by open_tree, move_mount, fsopen and their kin, of Linux 5.2")?;
        }
    }
    ensure!(ctx.state(&id)?["status"] == "running", "the container did not live on");
    Ok(())
}
