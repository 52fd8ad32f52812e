//! The container's process: arguments, environment, ids, limits, capabilities, and nothing inherited.

use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bundle::push;
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "process/args-env-cwd",
        source: "runtime-spec config.md#process",
        needs: &[],
        run: args_env_cwd,
    },
    Case {
        name: "process/is-pid-1",
        source: "runtime-spec config-linux.md#namespaces",
        needs: &[],
        run: is_pid_1,
    },
    Case {
        name: "process/uid-gid-groups",
        source: "runtime-spec config.md#user",
        needs: &[Need::Root],
        run: uid_gid_groups,
    },
    Case {
        name: "process/no-groups-of-the-caller",
        source: "facts: supplementary groups never leak in",
        needs: &[Need::Root],
        run: no_caller_groups,
    },
    Case {
        name: "process/null-is-the-containers-own",
        source: "runc: the host's /dev/null has no name in the container, where CRIU looks for it",
        needs: &[Need::Root],
        run: own_null,
    },
    Case {
        name: "process/streams-are-the-users",
        source: "runc, crun: the user of the process may open /dev/stdout, a pipe of the engine's",
        needs: &[Need::Root],
        run: own_streams,
    },
    Case {
        name: "process/umask",
        source: "runtime-spec config.md#user: umask; runc: 0022 by default",
        needs: &[],
        run: umask,
    },
    Case {
        name: "process/rlimits",
        source: "runtime-spec config.md#posix-process: rlimits",
        needs: &[],
        run: rlimits,
    },
    Case {
        name: "process/limits-hold-for-the-program-alone",
        source: "runc: limits of a mapped root are set by the runtime once everything is mounted",
        needs: &[Need::Root, Need::UserNamespaces],
        run: low_limits,
    },
    Case {
        name: "process/capabilities",
        source: "runtime-spec config.md#linux-process",
        needs: &[],
        run: capabilities,
    },
    Case {
        name: "process/no-new-privileges",
        source: "runtime-spec config.md#linux-process",
        needs: &[],
        run: no_new_privileges,
    },
    Case {
        name: "process/oom-score",
        source: "runtime-spec config.md#linux-process",
        needs: &[],
        run: oom_score,
    },
    Case { name: "process/hostname", source: "runtime-spec config.md#hostname", needs: &[], run: hostname },
    Case {
        name: "process/only-stdio-is-open",
        source: "CVE-2024-21626, CVE-2016-9962: init sees stdio and nothing else",
        needs: &[],
        run: only_stdio,
    },
    Case {
        name: "process/home-comes-from-passwd",
        source: "runc: HOME is set from the container's /etc/passwd when absent",
        needs: &[],
        run: home,
    },
    Case {
        name: "process/signals-are-reset",
        source: "facts: ignored or blocked signals of the caller never leak in",
        needs: &[],
        run: signals,
    },
    Case {
        name: "process/memory-policy",
        source: "runtime-spec config-linux.md#memory-policy; runc exec sets it too",
        needs: &[],
        run: memory_policy,
    },
];

fn args_env_cwd(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show", "two words", ""])?;
    bundle.edit(|c| {
        c["process"]["args"] = json!(["/probe", "show"]);
        c["process"]["env"] = json!(["PATH=/bin", "A=1", "B=two words", "HOME=/tmp"]);
        c["process"]["cwd"] = json!("/tmp");
    })?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["args"] == json!(["/probe", "show"]), "args: {}", seen["args"]);
    ensure!(seen["cwd"] == "/tmp", "cwd: {}", seen["cwd"]);
    let expected = json!({"PATH": "/bin", "A": "1", "B": "two words", "HOME": "/tmp"});
    ensure!(seen["env"] == expected, "env: {}", seen["env"]);
    Ok(())
}

fn is_pid_1(ctx: &Ctx) -> Result<()> {
    let seen = ctx.show(&ctx.bundle(&["show"])?)?;
    ensure!(seen["pid"] == 1 && seen["ppid"] == 0, "pid {} ppid {}", seen["pid"], seen["ppid"]);
    Ok(())
}

fn uid_gid_groups(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.set("/process/user", json!({"uid": 1234, "gid": 567, "additionalGids": [8, 9, 100]}))?;
    let seen = ctx.show(&bundle)?;
    ensure!(
        seen["uid"] == json!([1234, 1234]) && seen["gid"] == json!([567, 567]),
        "{} {}",
        seen["uid"],
        seen["gid"]
    );
    ensure!(seen["groups"] == json!([8, 9, 100]), "groups: {}", seen["groups"]);
    Ok(())
}

fn own_streams(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&REOPENED)?;
    bundle.set("/process/user", json!({"uid": 1234, "gid": 567}))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == REOPENED_OUT, "run: {seen:?}");
    let id = ctx.waiting("waiting")?;
    let words = [&["exec", "--user", "1234", id.as_str(), "/probe"][..], &REOPENED].concat();
    ctx.rt(&words)?.success()?.out(REOPENED_OUT)?;
    Ok(())
}

/// What writes to its standard output by a name of it.
pub(super) const REOPENED: [&str; 3] = ["write", "/proc/self/fd/1", "opened\n"];
pub(super) const REOPENED_OUT: &str = "opened\nwrite /proc/self/fd/1 opened\n: ok\n";

fn no_caller_groups(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    let mut command = std::process::Command::new("setpriv");
    let inner = ctx.runtime();
    command.args(["--groups", "4,27"]).arg(inner.get_program()).args(inner.get_args());
    command.args(["run", "--bundle", bundle.path()?, &ctx.id("c")]);
    let ended = crate::process::run(&mut command, crate::case::BOUND)?.success()?;
    let seen: serde_json::Value = serde_json::from_str(&ended.out)?;
    ensure!(seen["groups"] == json!([]), "groups: {}", seen["groups"]);
    Ok(())
}

fn own_null(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let pid = ctx.pid(&id)?;
    let stream = std::fs::metadata(format!("/proc/{pid}/fd/0"))?;
    let null = std::fs::metadata(format!("/proc/{pid}/root/dev/null"))?;
    ensure!(
        (stream.dev(), stream.ino()) == (null.dev(), null.ino()),
        "standard input is the host's /dev/null"
    );
    Ok(())
}

fn umask(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    ensure!(ctx.show(&bundle)?["umask"] == "0022", "default: {}", ctx.show(&bundle)?["umask"]);
    bundle.set("/process/user/umask", json!(0o27))?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["umask"] == "0027", "umask: {}", seen["umask"]);
    Ok(())
}

fn rlimits(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.set("/process/rlimits", json!([
        {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 700}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 1024},
    ]))?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["limits"]["Max open files"] == json!(["512", "700"]), "{}", seen["limits"]);
    ensure!(seen["limits"]["Max core file size"] == json!(["0", "1024"]), "{}", seen["limits"]);
    Ok(())
}

fn low_limits(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.edit(|config| {
        for id in 0..30 {
            let target = format!("/tmp/{id}");
            push(config, "/mounts", json!({"destination": target, "type": "tmpfs", "source": "tmpfs"}));
        }
        push(config, "/linux/namespaces", json!({"type": "user"}));
        for mappings in ["/linux/uidMappings", "/linux/gidMappings"] {
            push(config, mappings, json!({"containerID": 0, "hostID": 100_000, "size": 65536}));
        }
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 32, "hard": 32}]);
    })?;
    for path in [bundle.root(), bundle.root().join("tmp")] {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000))?;
    }
    let seen = ctx.show(&bundle)?;
    ensure!(seen["limits"]["Max open files"] == json!(["32", "32"]), "{}", seen["limits"]);
    Ok(())
}

/// CAP_KILL is 5, CAP_NET_BIND_SERVICE 10, CAP_AUDIT_WRITE 29.
fn capabilities(ctx: &Ctx) -> Result<()> {
    let seen = ctx.show(&ctx.bundle(&["show"])?)?;
    let all = "0000000020000420";
    for (set, expected) in [
        ("CapBnd", all),
        ("CapEff", all),
        ("CapPrm", all),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        ensure!(seen["status"][set] == expected, "{set}: {} instead of {expected}", seen["status"][set]);
    }
    Ok(())
}

fn no_new_privileges(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    ensure!(ctx.show(&bundle)?["status"]["NoNewPrivs"] == "1", "not set");
    bundle.set("/process/noNewPrivileges", json!(false))?;
    ensure!(ctx.show(&bundle)?["status"]["NoNewPrivs"] == "0", "set where the configuration says false");
    bundle.edit(|c| crate::bundle::remove(c, "/process/noNewPrivileges"))?;
    ensure!(ctx.show(&bundle)?["status"]["NoNewPrivs"] == "0", "set where the configuration says nothing");
    Ok(())
}

fn oom_score(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.set("/process/oomScoreAdj", json!(500))?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["oom_score_adj"] == "500", "oom_score_adj: {}", seen["oom_score_adj"]);
    Ok(())
}

fn hostname(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    bundle.set("/hostname", json!("a-name"))?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["hostname"] == "a-name", "hostname: {}", seen["hostname"]);
    Ok(())
}

fn only_stdio(ctx: &Ctx) -> Result<()> {
    let seen = ctx.show(&ctx.bundle(&["show"])?)?;
    let open: Vec<&String> = seen["descriptors"].as_object().into_iter().flat_map(|d| d.keys()).collect();
    ensure!(open == ["0", "1", "2"], "descriptors: {}", seen["descriptors"]);
    Ok(())
}

fn home(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    std::fs::write(bundle.root().join("etc/passwd"), "root:x:0:0:root:/from/passwd:/bin/sh\n")?;
    let seen = ctx.show(&bundle)?;
    ensure!(seen["env"]["HOME"] == "/from/passwd", "HOME: {}", seen["env"]["HOME"]);
    Ok(())
}

fn signals(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["show"])?;
    let mut command = std::process::Command::new("sh");
    let inner = ctx.runtime();
    command
        .args(["-c", "trap '' HUP PIPE USR1; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.args(["run", "--bundle", bundle.path()?, &ctx.id("c")]);
    let ended = crate::process::run(&mut command, crate::case::BOUND)?.success()?;
    let seen: serde_json::Value = serde_json::from_str(&ended.out)?;
    // The probe is a Rust program: it ignores SIGPIPE (bit 12) itself. Above 31 are the C library's own.
    let ignored = u64::from_str_radix(seen["status"]["SigIgn"].as_str().unwrap_or("x"), 16)?;
    ensure!(ignored & 0x7fff_ffff & !(1 << 12) == 0, "ignored: {ignored:x}");
    ensure!(seen["status"]["SigBlk"] == "0000000000000000", "blocked: {}", seen["status"]["SigBlk"]);
    Ok(())
}

fn memory_policy(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    bundle.set(
        "/linux/memoryPolicy",
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
    )?;
    let id = ctx.detached(&bundle, "c")?;
    for pid in ["1", "self"] {
        let file = format!("/proc/{pid}/numa_maps");
        let maps = ctx.rt(&["exec", &id, "/probe", "cat", &file])?.success()?.out;
        let policy = maps.split_whitespace().nth(1).unwrap_or_default();
        ensure!(policy == "bind=static:0", "{file}: {policy}");
    }
    bundle.set("/linux/memoryPolicy", json!({"mode": "MPOL_DEFAULT", "nodes": "0"}))?;
    ctx.run(&bundle, &ctx.id("refused"))?.failure()?.says("mode requires 0 nodes but got 1")?;
    Ok(())
}
