//! events: counters at intervals.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::case::{BOUND, Case, Ctx};
use crate::process;

pub(crate) const CASES: &[Case] = &[Case {
    name: "events/end-with-their-reader",
    source: "runc events: SIGPIPE; a reader that reconnects would leave a process each time",
    needs: &[],
    run: reader,
}];

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
