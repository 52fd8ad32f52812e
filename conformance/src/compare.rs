//! `conformance run`: any runtimes, side by side.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::case::Case;
use crate::needs::Host;
use crate::subject::Subject;
use crate::suite::{self, Place};
use crate::{build, cases, engines, report, trial};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A runtime: a path, a name on PATH, or `ours`. May be given several times.
    #[arg(long = "runtime", required = true)]
    runtimes: Vec<String>,
    /// Only cases whose name contains this. May be given several times.
    #[arg(long)]
    filter: Vec<String>,
    /// One JSON object a result instead of the table.
    #[arg(long)]
    json: bool,
}

/// Runs the cases and prints the table, the reasons, and each subject's totals.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let host = Host::measure();
    let binaries = build::beside()?;
    let work = tempfile::Builder::new().prefix("conformance.").tempdir_in(crate::work_root())?;
    let mut subjects = Vec::new();
    for text in &args.runtimes {
        let mut subject = Subject::find(text, &binaries, &host)?;
        subject.name = apart(&subject.name, &subjects);
        match trial::can_run(&subject, &binaries, work.path()) {
            Ok(()) => subjects.push(subject),
            Err(error) => writeln!(std::io::stderr(), "{}: cannot run here: {error:#}", subject.name)?,
        }
    }
    let wanted =
        |case: &&Case| args.filter.is_empty() || args.filter.iter().any(|f| case.name.contains(f.as_str()));
    let chosen: Vec<&'static Case> = cases::ALL.iter().copied().flatten().filter(wanted).collect();
    let place = Place { binaries: &binaries, work: work.path(), workers: crate::workers() };
    let mut rows = suite::run(place, &chosen, &subjects)?;
    let (groups, others) = engines::chosen(&args.filter, &host);
    rows.extend(suite::groups(place, &groups, &subjects)?);
    for subject in &subjects {
        rows.extend(suite::left_out(&others, subject, engines::EMULATED));
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        for row in &rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
    } else {
        writeln!(out, "{}\n", host.describe())?;
        report::table(&mut out, &rows)?;
        writeln!(out)?;
        report::reasons(&mut out, &rows)?;
        report::per_subject(&mut out, &rows)?;
    }
    let failed = report::Totals::of(&rows).failed > 0 || subjects.len() < args.runtimes.len();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The name of a subject's column, ids and folders: runtimes of one file name are told apart by the order in which they were given.
fn apart(name: &str, taken: &[Subject]) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let is_free = |wanted: &String| taken.iter().all(|subject| subject.name != *wanted);
    names.find(is_free).unwrap_or_else(|| name.to_owned())
}
