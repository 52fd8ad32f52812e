//! The schedule: every case on every subject, a few at a time, each in a worker process with a bound.
//!
//! Invariant: a stuck, crashed or killed worker is a failed case and never a stuck run.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

use crate::case::{Case, Outcome};
use crate::process;
use crate::subject::Subject;
use crate::worker::{self, Job};

/// The bound of one case.
const BOUND: Duration = Duration::from_secs(240);

/// One result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) subject: String,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    pub(crate) milliseconds: u64,
}

/// Where the work is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The finished binaries.
    pub(crate) binaries: &'a Path,
    /// A directory for the cases' own ones.
    pub(crate) work: &'a Path,
    /// How many cases at once.
    pub(crate) workers: usize,
}

/// Runs `cases` on each of `subjects`; rows come in the order of the tables.
pub(crate) fn run(place: Place<'_>, cases: &[&'static Case], subjects: &[Subject]) -> Result<Vec<Row>> {
    stop_on_signals()?;
    let jobs = cases.iter().flat_map(|case| subjects.iter().map(move |subject| (*case, subject)));
    let queue: Mutex<VecDeque<(usize, (&'static Case, &Subject))>> = Mutex::new(jobs.enumerate().collect());
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::new(Vec::new());
    let take = || queue.lock().ok()?.pop_front();
    std::thread::scope(|scope| {
        for _ in 0..place.workers.max(1) {
            scope.spawn(|| {
                while let Some((number, (case, subject))) = take() {
                    let row = one(place, number, case, subject);
                    say_at_once(&row);
                    if let Ok(mut rows) = rows.lock() {
                        rows.push((number, row));
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn one(place: Place<'_>, number: usize, case: &'static Case, subject: &Subject) -> Row {
    let began = Instant::now();
    let outcome = in_worker(place, number, case, subject)
        .unwrap_or_else(|error| Outcome::Failed(format!("the case itself: {error:#}")));
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Row { case: case.name, subject: subject.name.clone(), outcome, milliseconds }
}

/// A run of minutes shows at once what went wrong and what is slow.
fn say_at_once(row: &Row) {
    let seconds = row.milliseconds / 1000;
    let said = match &row.outcome {
        Outcome::Failed(text) => format!("failed after {seconds} s: {text}"),
        _ if seconds >= 20 => format!("took {seconds} s"),
        _ => return,
    };
    // A closed standard error is no reason to stop.
    drop(writeln!(std::io::stderr(), "{} {}: {said}", row.subject, row.case));
}

fn in_worker(place: Place<'_>, number: usize, case: &Case, subject: &Subject) -> Result<Outcome> {
    let tag = format!("cc{}-{number}", std::process::id());
    let dir = place.work.join(&tag);
    std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    let job = Job {
        case: case.name.to_owned(),
        subject: subject.clone(),
        binaries: place.binaries.to_owned(),
        dir: dir.clone(),
        tag,
    };
    // Not by its path: cargo may have put a newer program there meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("one").arg(serde_json::to_string(&job)?);
    let mut running = process::start(&mut command, Stdio::null())?;
    let outcome = match running.ends_within(BOUND)? {
        Some(0) => serde_json::from_str(running.so_far()?.trim()).context("read the worker's answer")?,
        Some(code) => Outcome::Failed(format!("the worker gave {code}: {}", running.errors_so_far()?.trim())),
        None => {
            worker::kill_descendants(running.pid());
            Outcome::Failed(format!("still running after {} s", BOUND.as_secs()))
        }
    };
    drop(running);
    remove(&dir);
    Ok(outcome)
}

/// Removes a case's directory; files of subordinate ids need the user namespace that made them.
fn remove(dir: &Path) {
    if std::fs::remove_dir_all(dir).is_ok() || !dir.exists() {
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--map-auto", "rm", "-rf", "--"]).arg(dir);
    // What is left is in a temporary directory of this run.
    let _ended = process::run(&mut command, Duration::from_secs(20));
}

/// On SIGINT and SIGTERM every worker is ended with all that it started, then this process.
fn stop_on_signals() -> Result<()> {
    let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    set.thread_block().context("block signals")?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Ok(signal) = set.wait() else { return };
        worker::kill_descendants(std::process::id());
        let _unblocked = set.thread_unblock();
        let _sent = nix::sys::signal::raise(signal);
    })?;
    Ok(())
}
