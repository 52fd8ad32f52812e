//! Sudden deaths: containerd, shims and both are killed at moments that a seed decides, in the middle of whatever they do, and
//! when containerd is back nothing may be left of the containers.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::containerd::PATIENCE;
use super::engine::{Engine, NEEDS, shims, under};
use crate::case::{Case, Ctx};
use crate::process::{self, Running};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/ctr-sudden-deaths",
    source: "issue 6: kill -9 of containerd and of the shim at random",
    needs: NEEDS,
    run: deaths,
}];

const ROUNDS: u32 = 16;

/// The same moments in every run; another seed is `CORACLE_SEED`.
const SEED: u64 = 20_260_726;

/// What a client needs to run a container, on a machine with nothing else to do.
const SPAN: u64 = 250;

/// Numbers that look random (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Shim,
    Containerd,
    Both,
}

fn deaths(ctx: &Ctx) -> Result<()> {
    let seed = std::env::var("CORACLE_SEED").ok().map_or(Ok(SEED), |text| text.parse());
    under_seed(ctx, seed.context("read CORACLE_SEED")?)
}

fn under_seed(ctx: &Ctx, seed: u64) -> Result<()> {
    under(ctx, move |mut engine| {
        let mut dice = Dice(seed);
        for round in 0..engine.ctx.host.scaled(ROUNDS) {
            engine = one(engine, round, &mut dice).with_context(|| format!("seed {seed}, round {round}"))?;
        }
        // A shim whose containerd died before it knew of it ends by itself, a minute after.
        process::until("every shim has ended", Duration::from_secs(180), || Ok(shims() == 0))
            .with_context(|| format!("{:?}", crate::worker::described_descendants()))?;
        nothing_is_left(&engine).with_context(|| format!("seed {seed}"))?;
        Ok(engine.containerd)
    })
}

fn one<'a>(mut engine: Engine<'a>, round: u32, dice: &mut Dice) -> Result<Engine<'a>> {
    let id = engine.ctx.id(&format!("r{round}"));
    let victim = match dice.below(3) {
        0 => Victim::Shim,
        1 => Victim::Containerd,
        _ => Victim::Both,
    };
    let words = ["run", "--runtime", "io.containerd.coracle.v2", super::containerd::IMAGE, &id];
    let deeds = ["/probe", "count", "1000", ",", "wait"];
    let mut client: Running =
        process::start(&mut engine.containerd.command(&[&words[..], &deeds].concat())?, Stdio::null())?;
    // The moment is the point; a client that has ended is no worse.
    let ended = client.ends_within(Duration::from_millis(dice.below(SPAN)))?;
    if matches!(victim, Victim::Shim | Victim::Both) {
        kill_shims()?;
    }
    if matches!(victim, Victim::Containerd | Victim::Both) {
        let killed = engine.containerd.kill()?;
        // Before the next containerd: a client that outlives the old one goes on with the new one.
        if ended.is_none() {
            client.signal(Signal::SIGKILL)?;
        }
        client.end(PATIENCE)?;
        engine.containerd = killed.launch(engine.ctx)?;
        clean_up(&engine, &id)?;
    } else {
        process::until("the client has ended, or its task runs", PATIENCE, || {
            Ok(client.ends_within(Duration::ZERO)?.is_some() || client.so_far()?.contains("waiting"))
        })?;
        clean_up(&engine, &id)?;
        client.end(PATIENCE)?;
    }
    Ok(engine)
}

fn kill_shims() -> Result<()> {
    for line in crate::worker::described_descendants() {
        if line.contains("containerd-shim-coracle") {
            let pid: i32 = line.split(' ').nth(1).context("find its process id")?.parse()?;
            // One that has ended meanwhile was to be killed anyway.
            let _sent = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    Ok(())
}

/// What an operator does: the task, then the container, then its snapshot, as far as each is there.
fn clean_up(engine: &Engine, id: &str) -> Result<()> {
    let mut said = String::new();
    process::until(&format!("{id} can be removed"), PATIENCE, || {
        let task = engine.task(&["delete", "--force", id])?;
        let container = engine.containerd.ctr(&["container", "delete", id])?;
        said = format!("task: {}; container: {}", task.err.trim(), container.err.trim());
        let tasks = engine.task(&["ls"])?.success()?.out;
        let containers = engine.containerd.ctr(&["container", "ls"])?.success()?.out;
        Ok(!tasks.contains(id) && !containers.contains(id))
    })
    .with_context(|| format!("{said}; {:?}", crate::worker::described_descendants()))?;
    engine.containerd.ctr(&["snapshot", "delete", id])?;
    Ok(())
}

fn nothing_is_left(engine: &Engine) -> Result<()> {
    let tag = &engine.ctx.tag;
    let programs = || -> Vec<String> {
        let all = crate::worker::described_descendants();
        all.into_iter().filter(|line| line.contains("/probe count")).collect()
    };
    process::until("every container's process has ended", PATIENCE, || Ok(programs().is_empty()))
        .with_context(|| format!("left: {:?}", programs()))?;
    let bundles = engine.ctx.path("containerd/state/io.containerd.runtime.v2.task/default");
    // Not even the namespace's directory is there when no round came as far as a bundle.
    let found = std::fs::read_dir(&bundles).into_iter().flatten().flatten();
    let names: Vec<_> = found.map(|entry| entry.path()).collect();
    ensure!(names.is_empty(), "bundles are left: {names:?}");
    let state = std::fs::read_dir("/run/containerd/coracle/default").into_iter().flatten().flatten();
    let records: Vec<_> =
        state.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains(tag)).collect();
    ensure!(records.is_empty(), "the runtime's state is left: {records:?}");
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mounts: Vec<&str> =
        mounts.lines().filter(|line| line.contains(&bundles.display().to_string())).collect();
    ensure!(mounts.is_empty(), "mounts are left: {mounts:?}");
    no_socket_is_left(engine)
}

/// containerd does not ask for the deletion of a container whose shim died before it was connected to, so that one's socket
/// may be left. The next shim that ends takes it away.
fn no_socket_is_left(engine: &Engine) -> Result<()> {
    let rounds = (0..ROUNDS).map(|round| socket(engine, &engine.ctx.id(&format!("r{round}"))));
    let sockets = rounds.collect::<Result<Vec<_>>>()?;
    engine
        .run(&["--rm"], &[&engine.ctx.id("next"), "/probe", "print", "again"])?
        .success()?
        .out("again\n")?;
    process::until("every socket is gone", PATIENCE, || {
        Ok(!sockets.iter().any(|socket| std::path::Path::new(socket).exists()))
    })
}

/// Where the shim of a container of its own listens.
fn socket(engine: &Engine, id: &str) -> Result<String> {
    let address = engine.ctx.path("containerd/sock");
    let named = format!("{}/default/{id}", address.display());
    let mut command = std::process::Command::new(process::find("sha256sum").context("find sha256sum")?);
    let sum = process::run_with_input(&mut command, &named, PATIENCE)?.success()?.out;
    Ok(format!("/run/containerd/s/coracle/{}", sum.get(..32).context("read the sum")?))
}
