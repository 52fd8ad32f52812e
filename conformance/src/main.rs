//! `conformance`: proves any OCI runtime, compares runtimes side by side, and is this workspace's development tool.

mod bundle;
mod case;
mod cases;
mod needs;
mod process;
mod report;
mod subject;
mod suite;
mod sys;
mod trial;
mod worker;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::case::Case;
use crate::needs::Host;
use crate::subject::Subject;
use crate::suite::{Place, Row};

#[derive(Parser)]
#[command(name = "conformance", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the cases on one or more runtimes and show them side by side.
    Run(Run),
    /// List the cases: name, and the source of the rule.
    List,
    /// Carry out one case; what `run` starts for each.
    #[command(hide = true)]
    One { job: String },
}

#[derive(clap::Args)]
struct Run {
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

fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            let _written = writeln!(std::io::stderr(), "conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run(args) => run(&args),
        Verb::List => list(),
        Verb::One { job } => {
            let outcome = worker::work(serde_json::from_str(&job)?)?;
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Every case there is, by topic.
fn all_cases() -> impl Iterator<Item = &'static Case> {
    cases::ALL.iter().copied().flatten()
}

/// The case of that name.
pub(crate) fn find_case(name: &str) -> Option<&'static Case> {
    all_cases().find(|case| case.name == name)
}

fn list() -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for case in all_cases() {
        writeln!(out, "{}\t{}", case.name, case.source)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run(args: &Run) -> Result<ExitCode> {
    let host = Host::measure();
    let binaries = binaries()?;
    let work = tempfile::Builder::new().prefix("conformance.").tempdir_in(work_root())?;
    let mut out = std::io::stdout().lock();
    let mut subjects = Vec::new();
    for text in &args.runtimes {
        let subject = Subject::find(text, &binaries, &host)?;
        match trial::can_run(&subject, &binaries, work.path()) {
            Ok(()) => subjects.push(subject),
            Err(error) => writeln!(std::io::stderr(), "{}: cannot run here: {error:#}", subject.name)?,
        }
    }
    let wanted = |case: &&Case| args.filter.is_empty() || args.filter.iter().any(|f| case.name.contains(f.as_str()));
    let cases: Vec<&'static Case> = cases::ALL.iter().copied().flatten().filter(wanted).collect();
    let place = Place { binaries: &binaries, work: work.path(), workers: workers() };
    let rows = suite::run(place, &cases, &subjects)?;
    if args.json {
        for row in &rows {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        }
    } else {
        show(&mut out, &host, &rows)?;
    }
    let failed = report::Totals::of(&rows).failed > 0 || subjects.len() < args.runtimes.len();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(out: &mut impl Write, host: &Host, rows: &[Row]) -> Result<()> {
    writeln!(out, "{}\n", host.describe())?;
    report::table(out, rows)?;
    writeln!(out)?;
    report::reasons(out, rows)?;
    report::per_subject(out, rows)
}

/// The directory of this program: the other finished binaries are beside it, in cargo's target directory and in a stage alike.
fn binaries() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find this program")?;
    Ok(exe.parent().context("find this program's directory")?.to_owned())
}

/// Cases need a file system that takes device nodes, extended attributes and overlay layers: not a small tmpfs.
fn work_root() -> PathBuf {
    PathBuf::from(if std::path::Path::new("/var/tmp").is_dir() { "/var/tmp" } else { "/tmp" })
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4)
}
