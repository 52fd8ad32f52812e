//! Many at once under containerd: hundreds of containers that live together, hundreds of execs in one of them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use super::containerd::PATIENCE;
use super::engine::{Engine, NEEDS, put_away, shim_of, shims, under};
use crate::case::{Case, Ctx};
use crate::process::{self, Ended, Running};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/ctr-500-execs",
        source: "issue 6: exit codes never lost or mixed up",
        needs: NEEDS,
        run: execs,
    },
    Case { name: "chain/ctr-200-containers", source: "issue 6: in parallel", needs: NEEDS, run: containers },
];

const EXECS: u32 = 500;
const CONTAINERS: u32 = 200;

/// Clients at work at a time. What they ask for lives longer than they do.
const CLIENTS: u32 = 50;

/// The most that a shim may ever have held, whatever it went through: it is some 2 MiB at rest, its program's pages included.
const SHIM_KIB: u64 = 12 * 1024;

/// Runs `ctr` with the words of each number in turn, several at a time, and hands each end to `judge`.
fn clients(
    engine: &Engine,
    numbers: std::ops::Range<u32>,
    words: impl Fn(u32) -> Vec<String>,
    judge: impl Fn(u32, Ended) -> Result<()>,
) -> Result<()> {
    let at_once = usize::try_from(engine.ctx.host.scaled(CLIENTS))?;
    let mut running: VecDeque<(u32, Running)> = VecDeque::new();
    for number in numbers {
        if running.len() == at_once
            && let Some((number, first)) = running.pop_front()
        {
            judge(number, first.end(PATIENCE)?)?;
        }
        let words = words(number);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let started = process::start(&mut engine.containerd.command(&words)?, Stdio::null())?;
        running.push_back((number, started));
    }
    running.into_iter().try_for_each(|(number, one)| judge(number, one.end(PATIENCE)?))
}

/// A code that says which process it was, as far as eight bits go.
fn code(number: u32) -> i32 {
    i32::try_from(number % 251).unwrap_or_default()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn execs(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let id = engine.id.clone();
        engine.run(&["--detach"], &[&id, "/probe", "stop"])?.success()?;
        let shim = shim_of(&engine)?;
        engine.exec("first", &["/probe", "exit", "3"])?.code(3)?;
        let (held, files) = (descriptors(shim)?, bundle(&engine, &id)?);
        let exec = |number: u32| {
            let (name, text) = (format!("e{number}"), code(number).to_string());
            owned(&["task", "exec", "--exec-id", &name, &id, "/probe", "print", &name, ",", "exit", &text])
        };
        clients(&engine, 0..engine.ctx.host.scaled(EXECS), exec, |number, ended| {
            ended.code(code(number))?.out(&format!("e{number}\n")).map(drop)
        })?;
        let peak = memory(shim, "VmHWM")?;
        ensure!(peak <= SHIM_KIB, "the shim held {peak} KiB");
        process::until("the shim has closed what it opened", PATIENCE, || Ok(descriptors(shim)? <= held))?;
        ensure!(bundle(&engine, &id)? == files, "files are left: {:?}", bundle(&engine, &id)?);
        engine.task(&["kill", "--signal", "KILL", &id])?.success()?;
        put_away(&engine, 137)?;
        Ok(engine.containerd)
    })
}

fn containers(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let wanted = engine.ctx.host.scaled(CONTAINERS);
        let id = |number: u32| engine.ctx.id(&format!("n{number}"));
        let fixed = ["run", "--detach", "--runtime", "io.containerd.coracle.v2", super::containerd::IMAGE];
        let run = |number: u32| {
            let own =
                [&id(number), "/probe", "wait", ",", "exit", &code(number).to_string()].map(str::to_owned);
            [owned(&fixed), own.to_vec()].concat()
        };
        clients(&engine, 0..wanted, run, |_, ended| ended.success().map(drop))?;
        let listed = engine.task(&["ls"])?.success()?.out;
        let running = listed.lines().filter(|line| line.contains("RUNNING")).count();
        ensure!(
            (running, shims()) == (usize::try_from(wanted)?, running),
            "{running} run, {} shims",
            shims()
        );
        let kill = |number: u32| owned(&["task", "kill", "--signal", "TERM", &id(number)]);
        clients(&engine, 0..wanted, kill, |_, ended| ended.success().map(drop))?;
        process::until("all have stopped", PATIENCE, || {
            Ok(!engine.task(&["ls"])?.success()?.out.contains("RUNNING"))
        })?;
        let delete = |number: u32| owned(&["task", "delete", &id(number)]);
        clients(&engine, 0..wanted, delete, |number, ended| super::containerd::tells(ended, code(number)))?;
        let ids: Vec<String> = (0..wanted).map(id).collect();
        let words: Vec<&str> =
            ["container", "delete"].into_iter().chain(ids.iter().map(String::as_str)).collect();
        engine.containerd.ctr(&words)?.success()?;
        process::until("every shim has ended", PATIENCE, || Ok(shims() == 0))?;
        Ok(engine.containerd)
    })
}

/// A figure of `/proc/PID/status`, in KiB.
pub(super) fn memory(pid: u32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with(field)).with_context(|| format!("find {field}"))?;
    Ok(line.split_whitespace().nth(1).context("find the figure")?.parse()?)
}

fn descriptors(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The names of the files in a container's bundle.
fn bundle(engine: &Engine, id: &str) -> Result<Vec<PathBuf>> {
    let bundles = engine.ctx.path("containerd/state/io.containerd.runtime.v2.task/default");
    let mut names = std::fs::read_dir(bundles.join(id))?
        .map(|entry| Ok(PathBuf::from(entry?.file_name())))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
