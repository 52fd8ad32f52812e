//! The schedule: every case on every subject, a few at a time, each in a worker process with a bound. Cases that share an engine
//! are one group and have one worker.
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
use crate::worker::{self, Answer, Job};

/// The bound of one case; a group has the sum.
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

/// Runs `cases` on each of `subjects`, each case by itself; rows come in the order of the tables.
pub(crate) fn run(place: Place<'_>, cases: &[&'static Case], subjects: &[Subject]) -> Result<Vec<Row>> {
    groups(place, &cases.iter().map(|case| vec![*case]).collect::<Vec<_>>(), subjects)
}

/// Runs every group on each of `subjects`: the cases of a group one after the other in one worker.
pub(crate) fn groups(
    place: Place<'_>,
    groups: &[Vec<&'static Case>],
    subjects: &[Subject],
) -> Result<Vec<Row>> {
    stop_on_signals()?;
    let jobs = groups.iter().flat_map(|group| subjects.iter().map(move |subject| (group, subject)));
    let queue: Mutex<VecDeque<_>> = Mutex::new(jobs.enumerate().collect());
    let rows: Mutex<Vec<(usize, Vec<Row>)>> = Mutex::new(Vec::new());
    let take = || queue.lock().ok()?.pop_front();
    std::thread::scope(|scope| {
        for _ in 0..place.workers.max(1) {
            scope.spawn(|| {
                while let Some((number, (group, subject))) = take() {
                    let done = one(place, number, group, subject);
                    done.iter().for_each(say_at_once);
                    if let Ok(mut rows) = rows.lock() {
                        rows.push((number, done));
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().flat_map(|(_, rows)| rows).collect())
}

/// Rows of cases that nobody tried on `subject`.
pub(crate) fn left_out(cases: &[&'static Case], subject: &Subject, reason: &str) -> Vec<Row> {
    let row = |case: &&'static Case| Row {
        case: case.name,
        subject: subject.name.clone(),
        outcome: Outcome::NotRun(reason.to_owned()),
        milliseconds: 0,
    };
    cases.iter().map(row).collect()
}

/// A row for each case of the group; those that the worker did not answer for have failed.
fn one(place: Place<'_>, number: usize, group: &[&'static Case], subject: &Subject) -> Vec<Row> {
    let began = Instant::now();
    let mut answers = Vec::new();
    let silent = match in_worker(place, number, (group, subject), &mut answers) {
        Ok(reason) => reason,
        Err(error) => format!("the case itself: {error:#}"),
    };
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut answers = answers.into_iter();
    let row = |case: &&'static Case| {
        let answer = answers.next();
        let answer =
            answer.unwrap_or_else(|| Answer { outcome: Outcome::Failed(silent.clone()), milliseconds });
        Row {
            case: case.name,
            subject: subject.name.clone(),
            outcome: answer.outcome,
            milliseconds: answer.milliseconds,
        }
    };
    group.iter().map(row).collect()
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

/// Carries a group out; gives why no more answers came than there are.
fn in_worker(
    place: Place<'_>,
    number: usize,
    (group, subject): (&[&'static Case], &Subject),
    answers: &mut Vec<Answer>,
) -> Result<String> {
    let tag = format!("cc{}-{number}", std::process::id());
    let dir = place.work.join(&tag);
    std::fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    let job = Job {
        cases: group.iter().map(|case| case.name.to_owned()).collect(),
        subject: subject.clone(),
        binaries: place.binaries.to_owned(),
        dir: dir.clone(),
        tag,
    };
    // Not by its path: cargo may have put a newer program there meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("one").arg(serde_json::to_string(&job)?);
    let mut running = process::start(&mut command, Stdio::null())?;
    let bound = BOUND.saturating_mul(u32::try_from(group.len()).unwrap_or(u32::MAX));
    let ended = running.ends_within(bound)?;
    let reason = match ended {
        Some(code) => format!("the worker gave {code}: {}", running.errors_so_far()?.trim()),
        None => {
            worker::kill_descendants(running.pid());
            format!("still running after {} s", bound.as_secs())
        }
    };
    for line in running.so_far()?.lines() {
        answers.push(serde_json::from_str(line).context("read the worker's answer")?);
    }
    drop(running);
    remove(&dir);
    Ok(reason)
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
