//! Checkpoints through CRIU: the container goes on where it was, with its terminal, pipes, mounts and hooks.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::console::master_within;
use crate::bundle::Bundle;
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Ended};

const CRIU: &[Need] = &[Need::Root, Need::Criu];
/// On an emulated machine CRIU takes seconds for what takes it milliseconds elsewhere.
const PATIENCE: Duration = Duration::from_secs(100);

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "checkpoint/and-back-with-a-terminal",
        source: "runc checkpoint, runc restore --console-socket",
        needs: CRIU,
        run: terminal,
    },
    Case {
        name: "checkpoint/and-back-with-pipes-and-the-exit-code",
        source: "runc restore: exits with the container's exit code; pipes are inherited",
        needs: CRIU,
        run: pipes,
    },
    Case {
        name: "checkpoint/leave-running",
        source: "runc checkpoint --leave-running",
        needs: CRIU,
        run: leave_running,
    },
    Case {
        name: "checkpoint/pre-dump-and-parent",
        source: "runc checkpoint --pre-dump, --parent-path",
        needs: CRIU,
        run: pre_dump,
    },
    Case {
        name: "checkpoint/bind-mounts",
        source: "runc: places of mounts are made again at restore (issue 2748)",
        needs: CRIU,
        run: bind_mounts,
    },
    Case {
        name: "checkpoint/every-switch-is-taken",
        source: "runc checkpoint, runc restore: tcp-established, file-locks and others",
        needs: CRIU,
        run: switches,
    },
    Case {
        name: "checkpoint/hooks-and-pid-file",
        source: "runc: createRuntime hooks run at restore, poststop hooks at checkpoint",
        needs: CRIU,
        run: hooks,
    },
    Case {
        name: "checkpoint/a-failing-restore-leaves-nothing",
        source: "runc restore",
        needs: CRIU,
        run: failing_restore,
    },
    Case {
        name: "checkpoint/a-failing-one-leaves-the-container-running",
        source: "runc checkpoint",
        needs: CRIU,
        run: failing_checkpoint,
    },
    Case {
        name: "checkpoint/a-created-one-is-refused",
        source: "runc: Container cannot be checkpointed in created state",
        needs: &[],
        run: created,
    },
    Case {
        name: "checkpoint/a-parent-that-is-not-there-is-refused",
        source: "runc checkpoint --parent-path (checkpoint.bats)",
        needs: &[],
        run: bad_parent,
    },
    Case {
        name: "checkpoint/without-criu-says-so",
        source: "runc: exec: \"criu\": executable file not found in $PATH",
        needs: &[],
        run: no_criu,
    },
    Case {
        name: "checkpoint/wrong-words-are-refused",
        source: "runc checkpoint: texts of --page-server, --manage-cgroups-mode, --empty-ns",
        needs: &[],
        run: wrong_words,
    },
];

/// CRIU 4.1 changes options of the cgroup file system that all share (issue 3029), unless told to leave cgroups alone.
const CGROUPS: [&str; 2] = ["--manage-cgroups-mode", "ignore"];

/// `checkpoint` or `restore` with the directories of images and logs.
fn words<'a>(verb: &'a str, dirs: &'a [String; 2], more: &[&'a str]) -> Vec<&'a str> {
    let [images, work] = dirs;
    [&[verb, "--image-path", images, "--work-path", work], &CGROUPS[..], more].concat()
}

fn dirs(ctx: &Ctx) -> [String; 2] {
    ["images", "work"].map(|name| ctx.path(name).to_string_lossy().into_owned())
}

fn rt(ctx: &Ctx, words: &[&str]) -> Result<Ended> {
    process::run(ctx.runtime().args(words), PATIENCE)
}

/// What comes, until `text` is among it.
fn read_until(from: &impl AsFd, text: &str) -> Result<String> {
    let mut file = File::from(from.as_fd().try_clone_to_owned()?);
    let (mut seen, mut part) = (String::new(), [0_u8; 4096]);
    while !seen.contains(text) {
        ensure!(process::readable(file.as_fd(), PATIENCE)?, "no {text:?} comes, only {seen:?}");
        let count = file.read(&mut part).with_context(|| format!("wait for {text:?} after {seen:?}"))?;
        ensure!(count > 0, "the end comes and not {text:?}, after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(part.get(..count).unwrap_or_default()));
    }
    Ok(seen)
}

/// A container that waits for a signal at its terminal, and goes on to `after`.
fn waiting(ctx: &Ctx, bundle: &Bundle) -> Result<(String, OwnedFd)> {
    let id = ctx.id("c");
    bundle.set("/process/terminal", json!(true))?;
    let master = master_within(ctx, &["run", "--detach", "--bundle", bundle.path()?], &[&id], PATIENCE)?;
    read_until(&master, "waiting")?;
    Ok((id, master))
}

fn restore(ctx: &Ctx, bundle: &Bundle, id: &str) -> Result<OwnedFd> {
    let dirs = dirs(ctx);
    let words = words("restore", &dirs, &["--detach", "--bundle", bundle.path()?]);
    master_within(ctx, &words, &[id], PATIENCE)
}

fn is_gone(ctx: &Ctx, id: &str) -> Result<()> {
    ctx.rt(&["state", id])?.failure()?.says("container does not exist").map(drop)
}

/// It runs, can be joined, and ends by the signal that it has waited for since before the checkpoint.
fn goes_on(ctx: &Ctx, id: &str, output: &impl AsFd) -> Result<()> {
    let status = ctx.state(id)?;
    ensure!(status["status"] == "running", "{status}");
    rt(ctx, &["exec", id, "/probe", "print", "joined"])?.success()?.out("joined\n")?;
    ctx.rt(&["kill", id, "TERM"])?.success()?;
    read_until(output, "got SIGTERM")?;
    ctx.until_status(id, "stopped")
}

fn terminal(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    // A terminal without a master hangs up.
    let (id, mut master) = waiting(ctx, &bundle)?;
    let dirs = dirs(ctx);
    for _ in 0..2 {
        rt(ctx, &words("checkpoint", &dirs, &[&id]))?.success()?;
        is_gone(ctx, &id)?;
        master = restore(ctx, &bundle, &id)?;
        rt(ctx, &["exec", &id, "/probe", "print", "joined"])?.success()?.out("joined\n")?;
    }
    for log in ["work/dump.log", "work/restore.log"] {
        ensure!(ctx.path(log).is_file(), "no {log}");
    }
    goes_on(ctx, &id, &master)?;
    ctx.rt(&["delete", &id])?.success().map(drop)
}

fn pipes(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait", ",", "exit", "7"])?;
    let (id, dirs) = (ctx.id("c"), dirs(ctx));
    let piped = |words: &[&str]| -> Result<_> {
        let (input, keep) = std::io::pipe()?;
        let (output, ours) = std::io::pipe()?;
        let mut command = ctx.runtime();
        command.args(words).stdin(input).stdout(ours.try_clone()?).stderr(ours);
        let child = process::spawn(&mut command)?;
        // The command holds copies of the pipes' other ends.
        drop(command);
        Ok((child, output, keep))
    };
    let (mut run, output, _input) = piped(&["run", "--detach", "--bundle", bundle.path()?, &id])?;
    read_until(&output, "waiting")?;
    ensure!(run.wait()?.success(), "run failed");
    rt(ctx, &words("checkpoint", &dirs, &[&id]))?.success()?;
    let (mut restored, output, _input) = piped(&words("restore", &dirs, &["--bundle", bundle.path()?, &id]))?;
    process::until("the container runs again", PATIENCE, || {
        let ended = ctx.rt(&["state", &id])?;
        if let (1.., Some(status)) = (ended.code, restored.try_wait()?) {
            let said = read_until(&output, "\0").err().map(|error| error.to_string());
            bail!("restore gave {status}: {}", said.unwrap_or_default());
        }
        Ok(ended.code == 0 && ended.out.contains("\"running\""))
    })?;
    ctx.rt(&["kill", &id, "TERM"])?.success()?;
    read_until(&output, "got SIGTERM")?;
    let code = restored.wait()?.code();
    ensure!(code == Some(7), "exit code {code:?}");
    is_gone(ctx, &id)
}

fn leave_running(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    let (id, master) = waiting(ctx, &bundle)?;
    let dirs = dirs(ctx);
    rt(ctx, &words("checkpoint", &dirs, &["--leave-running", &id]))?.success()?;
    goes_on(ctx, &id, &master)?;
    ctx.rt(&["delete", &id])?.success()?;
    let master = restore(ctx, &bundle, &id)?;
    goes_on(ctx, &id, &master)
}

fn pre_dump(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    let (id, _master) = waiting(ctx, &bundle)?;
    let parent = ctx.path("parent").to_string_lossy().into_owned();
    let first = [&["checkpoint", "--pre-dump", "--image-path", &parent][..], &CGROUPS, &[&id]].concat();
    let ended = rt(ctx, &first)?;
    if ended.code != 0 && ended.err.contains("missing features: [MemTrack]") {
        return Err(crate::case::not_run("this kernel does not track changed memory"));
    }
    ended.success()?;
    ensure!(ctx.state(&id)?["status"] == "running", "{}", ctx.state(&id)?);
    let dirs = dirs(ctx);
    rt(ctx, &words("checkpoint", &dirs, &["--parent-path", "../parent", &id]))?.success()?;
    ensure!(ctx.path("images/parent").exists(), "the images do not name their parent");
    let master = restore(ctx, &bundle, &id)?;
    goes_on(ctx, &id, &master)
}

fn bind_mounts(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    for name in ["outer", "inner"] {
        std::fs::create_dir(ctx.path(name))?;
    }
    std::fs::write(ctx.path("inner/file"), "content\n")?;
    std::fs::create_dir_all(bundle.root().join("real/conf"))?;
    std::os::unix::fs::symlink("/real/conf", bundle.root().join("conf"))?;
    for (name, destination) in [("outer", "/outer"), ("inner", "/outer/made/here"), ("inner", "/conf")] {
        let source = ctx.path(name);
        bundle.mount(
            json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"]}),
        )?;
    }
    let (id, _master) = waiting(ctx, &bundle)?;
    rt(ctx, &words("checkpoint", &dirs(ctx), &[&id]))?.success()?;
    // Its places are gone, as on another host.
    std::fs::remove_dir_all(ctx.path("outer/made"))?;
    let master = restore(ctx, &bundle, &id)?;
    for file in ["/outer/made/here/file", "/conf/file"] {
        rt(ctx, &["exec", &id, "/probe", "cat", file])?.success()?.out("content\n")?;
    }
    goes_on(ctx, &id, &master)
}

fn switches(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    let (id, _master) = waiting(ctx, &bundle)?;
    let both = ["--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks", "--auto-dedup"];
    let dirs = dirs(ctx);
    let dump = [&both[..], &["--tcp-skip-in-flight", "--link-remap", "--empty-ns", "network", &id]].concat();
    rt(ctx, &words("checkpoint", &dirs, &dump))?.success()?;
    let back = [&both[..], &["--empty-ns", "network", "-no-subreaper", "-d", "-b", bundle.path()?]].concat();
    let master = master_within(ctx, &words("restore", &dirs, &back), &[&id], PATIENCE)?;
    goes_on(ctx, &id, &master)
}

fn hooks(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    let log = ctx.path("log");
    for (moment, name) in [("createRuntime", "create"), ("poststop", "stop")] {
        let script = ctx.path(name);
        let text =
            format!("#!/bin/sh\ngrep -o '\"status\":\"[a-z]*\"' | sed 's/^/{name} /' >>{}\n", log.display());
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        bundle.set(&format!("/hooks/{moment}"), json!([{"path": script}]))?;
    }
    let (id, _master) = waiting(ctx, &bundle)?;
    let dirs = dirs(ctx);
    rt(ctx, &words("checkpoint", &dirs, &[&id]))?.success()?;
    let pid_file = ctx.path("pid").to_string_lossy().into_owned();
    let back = ["--detach", "--pid-file", &pid_file, "--bundle", bundle.path()?];
    let _master = master_within(ctx, &words("restore", &dirs, &back), &[&id], PATIENCE)?;
    ensure!(std::fs::read_to_string(&pid_file)? == ctx.pid(&id)?.to_string(), "the pid file is wrong");
    ctx.rt(&["delete", "--force", &id])?.success()?;
    let ran = std::fs::read_to_string(&log)?;
    let names: Vec<&str> = ran.lines().filter_map(|line| line.split(' ').next()).collect();
    ensure!(names == ["create", "stop", "create", "stop"], "{ran}");
    Ok(())
}

fn failing_restore(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["wait"])?;
    let (id, _master) = waiting(ctx, &bundle)?;
    let dirs = dirs(ctx);
    rt(ctx, &words("checkpoint", &dirs, &[&id]))?.success()?;
    let core = ctx.path("images/core-1.img");
    let whole = std::fs::read(&core)?;
    std::fs::write(&core, whole.get(..whole.len() / 2).unwrap_or_default())?;
    bundle.set("/process/terminal", json!(false))?;
    let words = words("restore", &dirs, &["--detach", "--bundle", bundle.path()?, &id]);
    rt(ctx, &words)?.failure()?.says("criu failed")?;
    is_gone(ctx, &id)?;
    std::fs::write(&core, whole)?;
    bundle.set("/process/terminal", json!(true))?;
    let master = restore(ctx, &bundle, &id)?;
    goes_on(ctx, &id, &master)
}

/// Its standard output is a file that is nowhere in the container.
fn failing_checkpoint(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    rt(ctx, &words("checkpoint", &dirs(ctx), &[&id]))?.failure()?.says("criu failed: type DUMP")?;
    ctx.until_status(&id, "running")
}

fn created(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.success()?;
    let images = ctx.path("images").to_string_lossy().into_owned();
    let ended = ctx.rt(&["checkpoint", "--image-path", &images, &id])?;
    ended.code(1)?.says("Container cannot be checkpointed in created state").map(drop)
}

fn bad_parent(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let images = ctx.path("images").to_string_lossy().into_owned();
    for (parent, text) in
        [("/absolute", "--parent-path must be relative"), ("../absent", "invalid --parent-path: stat ")]
    {
        let words = ["checkpoint", "--image-path", &images, "--parent-path", parent, &id];
        ctx.rt(&words)?.code(1)?.says(text)?;
    }
    Ok(())
}

fn no_criu(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let images = ctx.path("images").to_string_lossy().into_owned();
    let mut command = ctx.runtime();
    command.args(["checkpoint", "--image-path", &images, &id]).env("PATH", "/nonexistent");
    let ended = process::start(&mut command, Stdio::null())?.end(PATIENCE)?;
    ended.code(1)?.says("CRIU version check failed: exec: \"criu\": executable file not found in $PATH")?;
    ctx.until_status(&id, "running")
}

fn wrong_words(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let images = ctx.path("images").to_string_lossy().into_owned();
    let wrong = [
        (["--page-server", "nowhere"], "Use --page-server ADDRESS:PORT to specify page server"),
        (["--page-server", "host:many"], "Invalid port number"),
        (["--empty-ns", "pid"], "namespace \"pid\" is not supported"),
    ];
    for (flag, text) in wrong {
        let words = [&["checkpoint", "--image-path", &images][..], &flag, &[&id]].concat();
        ctx.rt(&words)?.code(1)?.says(text)?;
    }
    Ok(())
}
