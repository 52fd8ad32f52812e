//! The state directory: another process' pid in it, no room for it, commands that meet a delete.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "state/a-pid-that-another-process-has-now",
        source: "facts/security: pid reuse; a process is its pid and its start time",
        needs: &[],
        run: foreign_pid,
    },
    Case {
        name: "state/a-full-file-system",
        source: "facts/security: ENOSPC is a clear error, the id stays usable",
        needs: &[Need::Root],
        run: full,
    },
    Case {
        name: "state/exec-and-kill-against-delete",
        source: "facts/security: exec or kill racing delete",
        needs: &[],
        run: race_with_delete,
    },
];

fn foreign_pid(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let pid = ctx.pid(&id)?;
    let mut other = started_at_another_time(pid)?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    ctx.until_status(&id, "stopped")?;
    let dir = ctx.state_root().join(&id);
    let file = ["state.json", "status"].map(|name| dir.join(name)).into_iter().find(|path| path.is_file());
    let file = file.context("the runtime keeps its state elsewhere")?;
    let text = std::fs::read_to_string(&file)?;
    // As if the number had come round: "pid":N here and with crun, "init_process_pid":N with runc.
    let reused = [":", ": "].iter().fold(text.clone(), |text, colon| {
        text.replace(&format!("pid\"{colon}{pid},"), &format!("pid\"{colon}{},", other.pid()))
    });
    ensure!(reused != text, "{} does not name process {pid}", file.display());
    std::fs::write(&file, reused)?;
    ctx.rt(&["kill", &id, "KILL"])?.failure()?;
    let status = ctx.state(&id)?["status"].clone();
    ctx.rt(&["delete", "--force", &id])?.success()?;
    ensure!(other.ends_within(Duration::from_millis(100))?.is_none(), "the other process was killed");
    ensure!(status == "stopped", "with another process under its pid the container is {status}");
    Ok(())
}

/// A process that did not start in the same tick of the clock as `pid`, which tells the two apart.
fn started_at_another_time(pid: u32) -> Result<process::Running> {
    let init = start_time(pid)?;
    for _ in 0..1000 {
        let other = process::start(Command::new("sleep").arg("600"), Stdio::null())?;
        if start_time(other.pid())? != init {
            return Ok(other);
        }
    }
    bail!("a thousand processes started in the same tick as process {pid}")
}

/// In ticks since boot, proc_pid_stat(5) field 22; the name before it ends at the last parenthesis.
fn start_time(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').context("read the name's end in stat")?.1;
    Ok(rest.split_whitespace().nth(19).context("read the start time in stat")?.parse()?)
}

/// One page: the directory can be made, and the state of a container does not fit.
fn full(ctx: &Ctx) -> Result<()> {
    let root = ctx.state_root();
    std::fs::create_dir_all(&root)?;
    mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some("size=4k"))?;
    let bundle = ctx.bundle(&["exit", "3"])?;
    // Larger than the page by itself.
    bundle.set("/annotations", serde_json::json!({ "note": "x".repeat(9000) }))?;
    let id = ctx.id("c");
    ctx.rt(&["create", "--bundle", bundle.path()?, &id])?.failure()?.says("no space left on device")?;
    ctx.rt(&["state", &id])?.failure()?;
    mount(None::<&str>, &root, None::<&str>, MsFlags::MS_REMOUNT, Some("size=1m"))?;
    ctx.run(&bundle, &id)?.code(3)?;
    nix::mount::umount2(&root, nix::mount::MntFlags::MNT_DETACH)?;
    Ok(())
}

fn race_with_delete(ctx: &Ctx) -> Result<()> {
    for round in 0..6 {
        let id = ctx.waiting(&format!("c{round}"))?;
        let mut running = Vec::new();
        for _ in 0..3 {
            running.push(ctx.rt_start(&["exec", &id, "/probe", "stop"])?);
            running.push(ctx.rt_start(&["kill", &id, "USR2"])?);
        }
        ctx.rt(&["delete", "--force", &id])?.success()?;
        for one in running {
            // Whether it came before or after: it ends.
            one.end(BOUND)?;
        }
        ctx.rt(&["state", &id])?.failure()?;
    }
    Ok(())
}
