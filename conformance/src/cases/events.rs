//! events: counters at intervals.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use serde_json::Value;

use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "events/end-with-their-reader",
        source: "runc events: SIGPIPE; a reader that reconnects would leave a process each time",
        needs: &[],
        run: reader,
    },
    Case {
        name: "events/each-processor-in-and-out-of-the-kernel",
        source: "runc events: percpu_kernel, percpu_user (cpuacct.usage_all)",
        needs: &[Need::V1("cpuacct")],
        run: processors,
    },
];

fn reader(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let mut command = ctx.runtime();
    command.args(["events", "--interval", "20ms", &id]).stdout(Stdio::piped());
    let mut events = process::spawn(&mut command)?;
    let mut line = String::new();
    let read = BufReader::new(events.stdout.take().context("it writes")?).read_line(&mut line);
    let ended =
        process::until("events has ended with its reader", BOUND, || Ok(events.try_wait()?.is_some()));
    events.kill()?;
    events.wait()?;
    ended.and(Ok(read?))?;
    ensure!(line.contains("\"stats\""), "{line:?}");
    Ok(())
}

fn processors(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let stats: Value = serde_json::from_str(&ctx.rt(&["events", "--stats", &id])?.success()?.out)?;
    let usage = &stats["data"]["cpu"]["usage"];
    let count = |name: &str| usage[name].as_array().map_or(0, Vec::len);
    ensure!(count("percpu") > 0, "{usage}");
    for name in ["percpu_kernel", "percpu_user"] {
        ensure!(count(name) == count("percpu"), "{name}: {usage}");
    }
    Ok(())
}
