//! The command line as runc has it: help, version, spec, logs, features, descriptors passed on.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::{BOUND, Case, Ctx};
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case { name: "cli/version", source: "runc --version", needs: &[], run: version },
    Case { name: "cli/help", source: "runc -h, help, CMD -h, help CMD", needs: &[], run: help },
    Case {
        name: "cli/spec",
        source: "runc spec: terminal true; refuses to overwrite",
        needs: &[],
        run: spec,
    },
    Case {
        name: "cli/spec-rootless",
        source: "runc spec --rootless: maps the caller's id to 0 (crun)",
        needs: &[],
        run: spec_rootless,
    },
    Case { name: "cli/spec-gives-a-bundle-that-runs", source: "runc spec", needs: &[], run: spec_runs },
    Case {
        name: "cli/a-repeated-flag",
        source: "Go's flag package: the last one counts; podman repeats --leave-running",
        needs: &[],
        run: repeated_flag,
    },
    Case {
        name: "cli/json-log",
        source: "facts/engines: --log --log-format json",
        needs: &[],
        run: json_log,
    },
    Case {
        name: "cli/text-log",
        source: "facts/runtime-compat: level=..., no colour",
        needs: &[],
        run: text_log,
    },
    Case {
        name: "cli/features",
        source: "runc features; runtime-spec features.md",
        needs: &[],
        run: features,
    },
    Case {
        name: "cli/list-of-a-missing-root",
        source: "facts/runtime-compat: an error (crun, youki)",
        needs: &[],
        run: missing_root,
    },
    Case { name: "cli/preserve-fds", source: "runc run --preserve-fds", needs: &[], run: preserve_fds },
    Case { name: "cli/listen-fds", source: "runc run: LISTEN_FDS", needs: &[], run: listen_fds },
    Case { name: "cli/kill-all-is-accepted", source: "runc kill --all", needs: &[], run: kill_all },
    Case { name: "cli/run-keep", source: "runc run --keep", needs: &[], run: keep },
    Case {
        name: "cli/pid-file-is-relative-to-the-caller",
        source: "facts/runtime-compat (crun)",
        needs: &[],
        run: relative_pid_file,
    },
    Case { name: "cli/delete-names-the-missing-one", source: "runc delete", needs: &[], run: delete_missing },
    Case {
        name: "cli/an-empty-environment-is-enough",
        source: "facts/engines: start, kill, delete often come without PATH and HOME",
        needs: &[],
        run: no_environment,
    },
];

fn bare(ctx: &Ctx, args: &[&str]) -> Result<process::Ended> {
    process::run(ctx.subject.command().args(args), BOUND)
}

fn version(ctx: &Ctx) -> Result<()> {
    let out = bare(ctx, &["--version"])?.success()?.out;
    let first = out.lines().next().unwrap_or_default();
    let words: Vec<&str> = first.split(' ').collect();
    ensure!(words.len() == 3 && words.get(1) == Some(&"version"), "first line: {first:?}");
    ensure!(out.lines().any(|l| l.starts_with("spec: 1.")), "no spec line: {out}");
    ensure!(bare(ctx, &["-v"])?.success()?.out == out, "-v is not --version");
    Ok(())
}

fn help(ctx: &Ctx) -> Result<()> {
    let whole = bare(ctx, &["--help"])?.success()?.out;
    for verb in [
        "create", "delete", "events", "exec", "kill", "list", "pause", "ps", "resume", "run", "spec",
        "start", "state", "update",
    ] {
        ensure!(whole.lines().any(|l| l.trim_start().starts_with(verb)), "--help does not list {verb}");
    }
    ensure!(bare(ctx, &["-h"])?.success()?.out == whole, "-h is not --help");
    ensure!(bare(ctx, &["help"])?.success()?.out == whole, "help is not --help");
    for args in [["run", "--help"], ["run", "-h"], ["help", "run"]] {
        ensure!(bare(ctx, &args)?.success()?.out.contains("--detach"), "{args:?} does not show --detach");
    }
    let ended = bare(ctx, &["help", "nosuch"])?;
    ensure!(
        format!("{}{}", ended.out, ended.err).contains("No help topic for 'nosuch'"),
        "{}",
        ended.unexpected("another text")
    );
    Ok(())
}

fn spec_in(ctx: &Ctx, name: &str, flags: &[&str]) -> Result<Value> {
    let dir = ctx.path(name);
    std::fs::create_dir(&dir)?;
    process::run(ctx.subject.command().arg("spec").args(flags).current_dir(&dir), BOUND)?.success()?;
    Ok(serde_json::from_slice(&std::fs::read(dir.join("config.json"))?)?)
}

fn spec(ctx: &Ctx) -> Result<()> {
    let config = spec_in(ctx, "a", &[])?;
    ensure!(
        config["process"]["terminal"] == true && config["process"]["args"] == json!(["sh"]),
        "{}",
        config["process"]
    );
    ensure!(config["root"] == json!({"path": "rootfs", "readonly": true}), "{}", config["root"]);
    ensure!(
        config["process"]["noNewPrivileges"] == true && config["process"]["cwd"] == "/",
        "{}",
        config["process"]
    );
    ensure!(config["mounts"].as_array().map_or(0, Vec::len) == 7, "{}", config["mounts"]);
    process::run(ctx.subject.command().arg("spec").current_dir(ctx.path("a")), BOUND)?
        .failure()?
        .says("exist")?;
    Ok(())
}

fn spec_rootless(ctx: &Ctx) -> Result<()> {
    let config = spec_in(ctx, "a", &["--rootless"])?;
    let uid = nix::unistd::geteuid().as_raw();
    ensure!(
        config["linux"]["uidMappings"] == json!([{"containerID": 0, "hostID": uid, "size": 1}]),
        "{}",
        config["linux"]["uidMappings"]
    );
    let kinds: Vec<&str> = config["linux"]["namespaces"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|n| n["type"].as_str())
        .collect();
    ensure!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
    Ok(())
}

fn spec_runs(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    std::fs::remove_file(bundle.dir().join("config.json"))?;
    let flags: &[&str] = if ctx.host.root { &["spec"] } else { &["spec", "--rootless"] };
    process::run(ctx.subject.command().args(flags).current_dir(bundle.dir()), BOUND)?.success()?;
    bundle.edit(|config| {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/probe", "print", "it runs"]);
    })?;
    ctx.run(&bundle, &ctx.id("c"))?.success()?.out("it runs\n")?;
    Ok(())
}

fn json_log(ctx: &Ctx) -> Result<()> {
    let log = ctx.path("log");
    let path = log.to_string_lossy().into_owned();
    let mut command = ctx.runtime();
    let ended = process::run(
        command.args(["--log", &path, "--log-format", "json", "run", "--bundle", "/no/such", &ctx.id("c")]),
        BOUND,
    )?;
    ended.failure()?;
    let text = std::fs::read_to_string(&log)?;
    ensure!(!text.is_empty(), "the log is empty");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        ensure!(line["level"].is_string() && line["msg"].is_string() && line["time"].is_string(), "{line}");
    }
    ensure!(text.contains("\"level\":\"error\"") && text.contains("/no/such"), "{text}");
    Ok(())
}

fn text_log(ctx: &Ctx) -> Result<()> {
    let log = ctx.path("log");
    let path = log.to_string_lossy().into_owned();
    let mut command = ctx.runtime();
    process::run(
        command.args(["--debug", "--log", &path, "run", "--bundle", "/no/such", &ctx.id("c")]),
        BOUND,
    )?
    .failure()?;
    let text = std::fs::read_to_string(&log)?;
    ensure!(text.contains("level=error") && !text.contains('\u{1b}'), "{text:?}");
    Ok(())
}

fn features(ctx: &Ctx) -> Result<()> {
    let json: Value = serde_json::from_str(&bare(ctx, &["features"])?.success()?.out)?;
    ensure!(json["ociVersionMin"].is_string() && json["ociVersionMax"].is_string(), "{json}");
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        ensure!(
            json["hooks"].as_array().is_some_and(|h| h.contains(&json!(hook))),
            "hooks: {}",
            json["hooks"]
        );
    }
    ensure!(
        json["linux"]["namespaces"].as_array().is_some_and(|n| n.contains(&json!("user"))),
        "{}",
        json["linux"]["namespaces"]
    );
    ensure!(json["linux"]["capabilities"].as_array().map_or(0, Vec::len) >= 38, "capabilities");
    ensure!(json["mountOptions"].as_array().is_some_and(|m| m.contains(&json!("rbind"))), "mountOptions");
    Ok(())
}

fn missing_root(ctx: &Ctx) -> Result<()> {
    let root = ctx.path("nowhere").to_string_lossy().into_owned();
    process::run(ctx.subject.command().args(["--root", &root, "list"]), BOUND)?.failure()?;
    Ok(())
}

/// `sh` gives the runtime descriptors that std would not pass on.
fn with_descriptors(ctx: &Ctx, count: usize, script: &str) -> Result<Value> {
    let bundle = ctx.bundle(&["show"])?;
    let file = ctx.path("passed");
    std::fs::write(&file, "x")?;
    let redirects: String = (3..3 + count).map(|n| format!("{n}<{} ", file.display())).collect();
    let inner = ctx.runtime();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("exec {redirects}; {script}"))
        .arg("sh")
        .arg(inner.get_program())
        .args(inner.get_args());
    command.arg("run").env("BUNDLE", bundle.path()?).env("ID", ctx.id("c"));
    let ended = process::start(&mut command, Stdio::null())?.end(BOUND)?.success()?;
    Ok(serde_json::from_str(&ended.out)?)
}

fn open(seen: &Value) -> Vec<String> {
    seen["descriptors"].as_object().into_iter().flat_map(|d| d.keys().cloned()).collect()
}

fn repeated_flag(ctx: &Ctx) -> Result<()> {
    let (bundle, id) = (ctx.bundle(&["print", "inside"])?, ctx.id("c"));
    let nowhere = ctx.path("nowhere").display().to_string();
    let switches =
        ["run", "--no-new-keyring", "--no-new-keyring", "--bundle", &nowhere, "--bundle", bundle.path()?];
    ctx.rt(&[&switches[..], &[&id]].concat())?.success()?.out("inside\n")?;
    Ok(())
}

fn preserve_fds(ctx: &Ctx) -> Result<()> {
    let seen = with_descriptors(ctx, 3, "exec \"$@\" --preserve-fds 2 --bundle \"$BUNDLE\" \"$ID\"")?;
    ensure!(open(&seen) == ["0", "1", "2", "3", "4"], "{}", seen["descriptors"]);
    Ok(())
}

fn listen_fds(ctx: &Ctx) -> Result<()> {
    let seen = with_descriptors(
        ctx,
        1,
        "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" --bundle \"$BUNDLE\" \"$ID\"",
    )?;
    ensure!(open(&seen) == ["0", "1", "2", "3"], "{}", seen["descriptors"]);
    ensure!(seen["env"]["LISTEN_FDS"] == "1" && seen["env"]["LISTEN_PID"] == "1", "{}", seen["env"]);
    Ok(())
}

fn kill_all(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    ctx.rt(&["kill", "--all", &id, "KILL"])?.success()?;
    ctx.until_status(&id, "stopped")?;
    ctx.rt(&["delete", &id])?.success()?;
    Ok(())
}

fn keep(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "4"])?;
    let id = ctx.id("c");
    ctx.rt(&["run", "--keep", "--bundle", bundle.path()?, &id])?.code(4)?;
    ensure!(ctx.state(&id)?["status"] == "stopped", "{}", ctx.state(&id)?);
    ctx.rt(&["delete", &id])?.success()?;
    Ok(())
}

fn relative_pid_file(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    let dir = ctx.path("elsewhere");
    std::fs::create_dir(&dir)?;
    let mut command = ctx.runtime();
    process::run(
        command.args(["create", "--bundle", bundle.path()?, "--pid-file", "pid", &id]).current_dir(&dir),
        BOUND,
    )?
    .success()?;
    ensure!(dir.join("pid").is_file(), "no pid file in the caller's directory");
    Ok(())
}

fn delete_missing(ctx: &Ctx) -> Result<()> {
    let id = ctx.id("nobody");
    ctx.rt(&["delete", &id])?.failure()?.says("container does not exist")?;
    Ok(())
}

fn no_environment(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    let id = ctx.id("c");
    for words in [
        &["create", "--bundle", bundle.path()?, &id][..],
        &["start", &id],
        &["kill", &id, "KILL"],
        &["delete", "--force", &id],
    ] {
        process::run(ctx.runtime().args(words).env_clear(), BOUND)?.success()?;
    }
    Ok(())
}
