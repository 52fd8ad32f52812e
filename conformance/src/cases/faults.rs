//! Faults: the runtime killed at any moment, damaged state, races for one id. `delete --force` always mends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::case::{BOUND, Case, Ctx};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "faults/create-killed-anywhere",
        source: "facts/security: kill -9 of the runtime at any point; delete --force succeeds and leaves nothing",
        needs: &[],
        run: |ctx| killed(ctx, &["create"]),
    },
    Case {
        name: "faults/run-killed-anywhere",
        source: "facts/security",
        needs: &[],
        run: |ctx| killed(ctx, &["run", "--detach"]),
    },
    Case { name: "faults/delete-killed-anywhere", source: "facts/security", needs: &[], run: delete_killed },
    Case { name: "faults/exec-killed-anywhere", source: "facts/security", needs: &[], run: exec_killed },
    Case {
        name: "faults/damaged-state",
        source: "facts/security: list shows the others, delete --force cleans up",
        needs: &[],
        run: damaged,
    },
    Case {
        name: "faults/damaged-beginning-of-the-state",
        source: "facts/security: corrupt state: delete --force cleans up, processes too",
        needs: &[],
        run: damaged_beginning,
    },
    Case {
        name: "faults/empty-state-directory",
        source: "facts/security: a stuck id can be deleted",
        needs: &[],
        run: empty_state,
    },
    Case {
        name: "faults/one-id-twice-at-once",
        source: "facts/security: exactly one wins",
        needs: &[],
        run: race,
    },
    Case {
        name: "faults/init-killed-from-outside",
        source: "runtime-spec runtime.md#state: stopped",
        needs: &[],
        run: init_killed,
    },
];

/// Moments in microseconds from the start, dense where the work is.
fn moments() -> impl Iterator<Item = u64> {
    (0..24).map(|n| 300 * n + 40 * n * n)
}

fn killed(ctx: &Ctx, verb: &[&str]) -> Result<()> {
    let bundle = ctx.bundle(&["stop"])?;
    for (number, moment) in moments().enumerate() {
        let id = ctx.id(&format!("c{number}"));
        let mut running = ctx.rt_start(&[verb, &["--bundle", bundle.path()?, &id]].concat())?;
        if running.ends_within(Duration::from_micros(moment))?.is_none() {
            running.signal(Signal::SIGKILL)?;
            running.ends_within(BOUND)?.context("end of SIGKILL")?;
        }
        ctx.rt(&["delete", "--force", &id])?
            .success()
            .with_context(|| format!("{verb:?} killed after {moment} us"))?;
        ctx.rt(&["state", &id])?.failure().with_context(|| format!("{verb:?} killed after {moment} us"))?;
        let left = crate::worker::described_descendants();
        ensure!(
            left.iter().all(|p| !p.contains("/probe") && !p.contains(&id)),
            "killed after {moment} us, left: {}",
            left.join(", ")
        );
    }
    Ok(())
}

fn delete_killed(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["stop"])?;
    for (number, moment) in moments().step_by(3).enumerate() {
        let id = ctx.id(&format!("c{number}"));
        ctx.rt(&["run", "--detach", "--bundle", bundle.path()?, &id])?.success()?;
        let mut running = ctx.rt_start(&["delete", "--force", &id])?;
        if running.ends_within(Duration::from_micros(moment))?.is_none() {
            running.signal(Signal::SIGKILL)?;
            running.ends_within(BOUND)?.context("end of SIGKILL")?;
        }
        ctx.rt(&["delete", "--force", &id])?
            .success()
            .with_context(|| format!("killed after {moment} us"))?;
        ctx.rt(&["state", &id])?.failure()?;
    }
    Ok(())
}

fn exec_killed(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    for moment in moments().step_by(2) {
        let mut running = ctx.rt_start(&["exec", &id, "/probe", "stop"])?;
        if running.ends_within(Duration::from_micros(moment))?.is_none() {
            running.signal(Signal::SIGKILL)?;
            running.ends_within(BOUND)?.context("end of SIGKILL")?;
        }
        ensure!(
            ctx.state(&id)?["status"] == "running",
            "killed after {moment} us, the container is {}",
            ctx.state(&id)?["status"]
        );
    }
    ctx.rt(&["exec", &id, "/probe", "print", "still here"])?.success()?.out("still here\n")?;
    Ok(())
}

fn damaged(ctx: &Ctx) -> Result<()> {
    let good = ctx.waiting("good")?;
    let bad = ctx.waiting("bad")?;
    let pid = ctx.pid(&bad)?;
    let dir = ctx.state_root().join(&bad);
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path)?;
            std::fs::write(&path, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
        }
    }
    ensure!(ctx.rt(&["list"])?.out.contains(&good), "list no longer shows the other container");
    ctx.rt(&["delete", "--force", &bad])?.success()?;
    ctx.rt(&["state", &bad])?.failure()?;
    // A runtime that cannot know the process any more leaves it to the worker; ours must not be one.
    let alive = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z"));
    if alive {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    }
    ensure!(ctx.state(&good)?["status"] == "running", "the other container was harmed");
    Ok(())
}

/// A runtime that finds neither process nor cgroup any more must at least not say that all is clean.
fn damaged_beginning(ctx: &Ctx) -> Result<()> {
    let bad = ctx.waiting("bad")?;
    let pid = ctx.pid(&bad)?;
    let dir = ctx.state_root().join(&bad);
    let state = ["state.json", "status"].map(|name| dir.join(name)).into_iter().find(|path| path.is_file());
    let state = state.context("the runtime keeps its state elsewhere")?;
    let mut bytes = std::fs::read(&state)?;
    bytes.iter_mut().take(64).for_each(|byte| *byte = 0xff);
    std::fs::write(&state, bytes)?;
    let ended = ctx.rt(&["delete", "--force", &bad])?;
    let alive = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z"));
    if alive {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    }
    ensure!(!(alive && ended.code == 0), "delete --force said yes, and process {pid} goes on");
    ended.success()?;
    ctx.rt(&["state", &bad])?.failure()?;
    Ok(())
}

fn empty_state(ctx: &Ctx) -> Result<()> {
    let id = ctx.id("c");
    std::fs::create_dir_all(ctx.state_root().join(&id))?;
    ctx.rt(&["delete", "--force", &id])?.success()?;
    let bundle = ctx.bundle(&["exit", "3"])?;
    ctx.run(&bundle, &id)?.code(3)?;
    Ok(())
}

fn race(ctx: &Ctx) -> Result<()> {
    for round in 0..6 {
        let id = ctx.id(&format!("c{round}"));
        let mut running = Vec::new();
        for number in 0..4 {
            let bundle = ctx.bundle_named(&format!("b{round}-{number}"), &["stop"])?;
            running.push(ctx.rt_start(&["create", "--bundle", bundle.path()?, &id])?);
        }
        let ended: Vec<_> = running.into_iter().map(|r| r.end(BOUND)).collect::<Result<_>>()?;
        let winners = ended.iter().filter(|e| e.code == 0).count();
        ensure!(winners == 1, "{winners} of 4 have won");
        ensure!(ctx.state(&id)?["status"] == "created", "the winner is {}", ctx.state(&id)?["status"]);
        ctx.rt(&["delete", "--force", &id])?.success()?;
    }
    Ok(())
}

fn init_killed(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(ctx.pid(&id)?.cast_signed()), Signal::SIGKILL)?;
    ctx.until_status(&id, "stopped")?;
    ctx.rt(&["delete", &id])?.success()?;
    Ok(())
}
