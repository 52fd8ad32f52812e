//! exec: another process in a running container.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Ended};

pub(crate) const CASES: &[Case] = &[
    Case { name: "exec/output-and-exit-code", source: "runc exec", needs: &[], run: output_and_code },
    Case { name: "exec/shares-the-namespaces", source: "runc exec", needs: &[], run: shares_namespaces },
    Case {
        name: "exec/cwd-env-user",
        source: "runc exec --cwd --env --user",
        needs: &[Need::Root],
        run: cwd_env_user,
    },
    Case { name: "exec/process-file", source: "runc exec --process", needs: &[], run: process_file },
    Case {
        name: "exec/process-file-is-a-pipe-whose-writer-is-slow",
        source: "runc exec --process <(program)",
        needs: &[],
        run: slow_process_file,
    },
    Case {
        name: "exec/process-file-that-leaves-out",
        source: "runc exec --process: absent members are the container's (newInitConfig); noNewPrivileges is the file's",
        needs: &[],
        run: sparse_process_file,
    },
    Case {
        name: "exec/process-file-without-limits",
        source: "facts/security: a process is held by what holds its container; runc has the rule, but does not keep the limits",
        needs: &[],
        run: unlimited_process_file,
    },
    Case {
        name: "exec/capabilities-of-the-container",
        source: "runc exec; CVE-2022-24769: inheritable and ambient sets stay empty",
        needs: &[],
        run: capabilities,
    },
    Case {
        name: "exec/only-stdio-is-open",
        source: "CVE-2016-9962, CVE-2024-21626",
        needs: &[],
        run: only_stdio,
    },
    Case {
        name: "exec/missing-program",
        source: "runc exec: 255; podman and Docker read the text",
        needs: &[],
        run: missing_program,
    },
    Case { name: "exec/into-a-stopped-container", source: "runc exec", needs: &[], run: stopped },
    Case {
        name: "exec/into-a-created-container",
        source: "runc exec: works; facts/runtime-compat",
        needs: &[],
        run: created,
    },
    Case {
        name: "exec/detached-with-pid-file",
        source: "runc exec --detach --pid-file",
        needs: &[],
        run: detached,
    },
    Case { name: "exec/stdin-is-passed", source: "runc exec", needs: &[], run: stdin },
    Case {
        name: "exec/additional-gids",
        source: "runc exec --additional-gids",
        needs: &[Need::Root],
        run: additional_gids,
    },
    Case {
        name: "exec/a-strict-user",
        source: "facts/security: uid parsing never overflows to 0",
        needs: &[],
        run: strict_user,
    },
    Case {
        name: "exec/into-a-cgroup-that-holds-no-processes",
        source: "runc exec: joins init's cgroup, unless --cgroup names one; cgroups(7), no internal processes",
        needs: &[Need::V2("hugetlb")],
        run: beside_init,
    },
    Case {
        name: "exec/follows-an-init-that-left-its-cgroup",
        source: "runc exec.bats: init changes cgroup",
        needs: &[Need::V2("hugetlb")],
        run: left,
    },
];

fn exec(ctx: &Ctx, id: &str, flags: &[&str], words: &[&str]) -> Result<Ended> {
    let mut args = vec!["exec"];
    args.extend(flags);
    args.push(id);
    args.extend(words);
    ctx.rt(&args)
}

fn show(ended: Ended) -> Result<Value> {
    Ok(serde_json::from_str(&ended.success()?.out)?)
}

fn output_and_code(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    exec(ctx, &id, &[], &["/probe", "print", "hello", ",", "err", "there", ",", "exit", "9"])?
        .code(9)?
        .out("hello\n")?
        .says("there")?;
    Ok(())
}

fn shares_namespaces(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let seen = show(exec(ctx, &id, &[], &["/probe", "show"])?)?;
    ensure!(seen["pid"] != 1, "pid 1");
    ensure!(seen["hostname"] == "probe", "hostname: {}", seen["hostname"]);
    let pid = ctx.pid(&id)?;
    for name in ["pid", "net", "ipc", "uts", "mnt"] {
        let of_init = std::fs::read_link(format!("/proc/{pid}/ns/{name}"))?;
        ensure!(
            seen["namespaces"][name] == json!(of_init),
            "{name}: {} instead of {}",
            seen["namespaces"][name],
            of_init.display()
        );
    }
    Ok(())
}

fn cwd_env_user(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let flags = ["--cwd", "/tmp", "--env", "A=one", "--env", "B=two words", "--user", "1000:1001"];
    let seen = show(exec(ctx, &id, &flags, &["probe", "show"])?)?;
    ensure!(seen["cwd"] == "/tmp", "cwd: {}", seen["cwd"]);
    ensure!(
        seen["env"]["A"] == "one" && seen["env"]["B"] == "two words" && seen["env"]["PATH"] == "/bin",
        "env: {}",
        seen["env"]
    );
    ensure!(
        seen["uid"] == json!([1000, 1000]) && seen["gid"] == json!([1001, 1001]),
        "{} {}",
        seen["uid"],
        seen["gid"]
    );
    Ok(())
}

fn process_file(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let process = json!({
        "terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/probe", "show"], "env": ["ONLY=this"], "cwd": "/tmp",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}], "noNewPrivileges": true,
    });
    let file = ctx.path("process.json");
    std::fs::write(&file, process.to_string())?;
    let seen = show(ctx.rt(&["exec", "--process", &file.to_string_lossy(), &id])?)?;
    ensure!(seen["env"]["ONLY"] == "this" && seen["cwd"] == "/tmp", "{} {}", seen["env"], seen["cwd"]);
    ensure!(seen["status"]["CapEff"] == "0000000000000020", "CapEff: {}", seen["status"]["CapEff"]);
    ensure!(seen["limits"]["Max open files"] == json!(["77", "88"]), "{}", seen["limits"]["Max open files"]);
    Ok(())
}

/// The writer writes when the runtime has the pipe open, and looks into it.
fn slow_process_file(ctx: &Ctx) -> Result<()> {
    use std::io::Write;

    let id = ctx.waiting("c")?;
    let pipe = ctx.path("process.json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    let mut writer = std::fs::OpenOptions::new().read(true).write(true).open(&pipe)?;
    let mut running = ctx.rt_start(&["exec", "--process", &pipe.to_string_lossy(), &id])?;
    let fds = format!("/proc/{}/fd", running.pid());
    process::until("the runtime opens the pipe", BOUND, || {
        ensure!(running.ends_within(Duration::ZERO)?.is_none(), "it has ended: {}", running.errors_so_far()?);
        // Gone between two looks, or not yet this user's to read.
        let Ok(entries) = std::fs::read_dir(&fds) else { return Ok(false) };
        Ok(entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == pipe)))
    })?;
    writer.write_all(json!({"args": ["/probe", "print", "it came"], "cwd": "/"}).to_string().as_bytes())?;
    drop(writer);
    running.end(BOUND)?.success()?.out("it came\n")?;
    Ok(())
}

/// A container with this set in its configuration, and what a process shows there whose file says program and directory only.
fn sparse(ctx: &Ctx, of_container: &[(&str, Value)]) -> Result<Value> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    for (pointer, value) in of_container {
        bundle.set(pointer, value.clone())?;
    }
    let id = ctx.detached(&bundle, "c")?;
    let file = ctx.path("process.json");
    std::fs::write(&file, json!({"args": ["/probe", "show"], "cwd": "/"}).to_string())?;
    show(ctx.rt(&["exec", "--process", &file.to_string_lossy(), &id])?)
}

fn sparse_process_file(ctx: &Ctx) -> Result<()> {
    let seen = sparse(
        ctx,
        &[
            ("/process/user/umask", json!(0o27)),
            ("/process/oomScoreAdj", json!(500)),
            ("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6})),
            ("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3})),
        ],
    )?;
    let (all, status) = ("0000000020000420", &seen["status"]);
    for (what, seen, expected) in [
        ("CapBnd", &status["CapBnd"], json!(all)),
        ("CapEff", &status["CapEff"], json!(all)),
        ("CapPrm", &status["CapPrm"], json!(all)),
        ("NoNewPrivs", &status["NoNewPrivs"], json!("0")),
        ("umask", &seen["umask"], json!("0027")),
        ("oom_score_adj", &seen["oom_score_adj"], json!("500")),
        ("io_priority", &seen["io_priority"], json!((2 << 13) + 6)),
        ("scheduler", &seen["scheduler"], json!(libc::SCHED_BATCH)),
    ] {
        ensure!(*seen == expected, "{what}: {seen} instead of {expected}");
    }
    Ok(())
}

fn unlimited_process_file(ctx: &Ctx) -> Result<()> {
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
    let seen = sparse(ctx, &[("/process/rlimits", limits)])?;
    ensure!(seen["limits"]["Max open files"] == json!(["77", "88"]), "{}", seen["limits"]["Max open files"]);
    Ok(())
}

fn capabilities(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let seen = show(exec(ctx, &id, &[], &["/probe", "show"])?)?;
    let (all, none) = ("0000000020000420", "0000000000000000");
    for (set, expected) in
        [("CapBnd", all), ("CapEff", all), ("CapPrm", all), ("CapInh", none), ("CapAmb", none)]
    {
        ensure!(seen["status"][set] == expected, "{set}: {} instead of {expected}", seen["status"][set]);
    }
    ensure!(seen["status"]["NoNewPrivs"] == "1", "NoNewPrivs: {}", seen["status"]["NoNewPrivs"]);
    Ok(())
}

fn only_stdio(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let seen = show(exec(ctx, &id, &[], &["/probe", "show"])?)?;
    let open: Vec<&String> = seen["descriptors"].as_object().into_iter().flat_map(|d| d.keys()).collect();
    ensure!(open == ["0", "1", "2"], "descriptors: {}", seen["descriptors"]);
    Ok(())
}

fn missing_program(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    exec(ctx, &id, &[], &["nosuch"])?
        .code(255)?
        .says("exec: \"nosuch\": executable file not found in $PATH")?;
    exec(ctx, &id, &[], &["/no/such"])?.code(255)?.says("no such file or directory")?;
    exec(ctx, &id, &[], &["/tmp"])?.code(255)?.says("permission denied")?;
    Ok(())
}

fn stopped(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    ctx.rt(&["kill", &id, "KILL"])?.success()?;
    ctx.until_status(&id, "stopped")?;
    exec(ctx, &id, &[], &["/probe", "exit", "0"])?.failure()?;
    Ok(())
}

fn created(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    exec(ctx, &id, &[], &["/probe", "print", "early"])?.success()?.out("early\n")?;
    ensure!(ctx.state(&id)?["status"] == "created", "no longer created");
    Ok(())
}

fn detached(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let file = ctx.path("pid");
    let file_text = file.to_string_lossy();
    exec(ctx, &id, &["--detach", "--pid-file", &file_text], &["/probe", "stop"])?.success()?;
    let pid: u32 = std::fs::read_to_string(&file)?.trim().parse()?;
    crate::process::until("the program runs", BOUND, || {
        Ok(std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?.starts_with("/probe\0stop"))
    })?;
    Ok(())
}

fn stdin(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let ended = crate::process::run_with_input(
        ctx.runtime().args(["exec", &id, "/probe", "stdin"]),
        "a line\n",
        BOUND,
    )?;
    ended.success()?.out("stdin: \"a line\\n\"\n")?;
    Ok(())
}

fn additional_gids(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let seen =
        show(exec(ctx, &id, &["--additional-gids", "100", "--additional-gids", "65"], &["/probe", "show"])?)?;
    let mut groups = seen["groups"].as_array().cloned().unwrap_or_default();
    groups.sort_by_key(Value::as_u64);
    ensure!(groups == [json!(65), json!(100)], "groups: {groups:?}");
    Ok(())
}

fn strict_user(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    for user in ["4294967296", "4294967295", "-1", "0:4294967296", "99999999999999999999", "1x"] {
        let ended = exec(ctx, &id, &["--user", user], &["/probe", "show"])?;
        ensure!(ended.code != 0, "{}", ended.unexpected(&format!("--user {user} was accepted")));
    }
    Ok(())
}

/// As systemd does it in a container: init goes below, and a domain controller is passed on to there.
fn beside_init(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let pid = ctx.pid(&id)?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).context("find init's cgroup")?;
    let dir = std::path::Path::new("/sys/fs/cgroup").join(path);
    std::fs::create_dir(dir.join("below"))?;
    std::fs::write(dir.join("below/cgroup.procs"), pid.to_string())?;
    std::fs::write(dir.join("cgroup.subtree_control"), "+hugetlb")?;
    let file = ctx.path("pid");
    exec(ctx, &id, &["--detach", "--pid-file", &file.to_string_lossy()], &["/probe", "stop"])?.success()?;
    let pid = std::fs::read_to_string(&file)?;
    let seen = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.trim()))?;
    ensure!(seen.lines().any(|line| line == format!("0::/{path}/below")), "{seen}");
    exec(ctx, &id, &["--cgroup", "/"], &["/probe", "exit", "0"])?
        .code(255)?
        .says("device or resource busy")?;
    exec(ctx, &id, &["--cgroup", "below"], &["/probe", "exit", "0"])?.success()?;
    Ok(())
}

fn left(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let top = std::path::Path::new("/sys/fs/cgroup");
    let other = ctx.id("other");
    std::fs::create_dir(top.join(&other))?;
    let seen = (|| {
        let pid = ctx.pid(&id)?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/")).context("find init's cgroup")?;
        std::fs::write(top.join(&other).join("cgroup.procs"), pid.to_string())?;
        std::fs::remove_dir(top.join(path))?;
        exec(ctx, &id, &[], &["/probe", "cat", "/proc/self/cgroup"])
    })();
    ctx.rt(&["delete", "--force", &id])?.success()?;
    std::fs::remove_dir(top.join(&other))?;
    let seen = seen?.success()?.out;
    ensure!(seen.lines().any(|line| line == format!("0::/{other}")), "{seen}");
    Ok(())
}
