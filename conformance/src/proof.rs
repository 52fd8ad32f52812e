//! `conformance proof`: builds, tests, every case, the peers; ends with passed, failed and not run, with reasons.
//!
//! Invariant: the last line is `N passed, N failed, N skipped`, and a test that could not run is never counted as passed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::case::{Case, Outcome};
use crate::needs::Host;
use crate::report::{self, Totals};
use crate::subject::{Kind, Subject};
use crate::suite::{self, Place, Row};
use crate::{as_user, build, cargo_test, cases, chain, engines, known, process, setup, trial};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use the finished binaries in this folder (made by `stage`) instead of building.
    #[arg(long)]
    prebuilt: Option<PathBuf>,
    /// As root: run as this user, in a mount namespace where the user may open /dev/net/tun. Needs --prebuilt.
    #[arg(long = "as", requires = "prebuilt")]
    user: Option<String>,
    /// Only the cases whose name contains this, and no cargo test.
    #[arg(long)]
    filter: Vec<String>,
}

/// The whole proof.
pub(crate) fn proof(args: &Args) -> Result<ExitCode> {
    if let (Some(user), Some(dir)) = (&args.user, &args.prebuilt) {
        return as_user::proof(user, dir, &args.filter);
    }
    let began = Instant::now();
    let mut out = std::io::stdout().lock();
    let binaries = match &args.prebuilt {
        Some(dir) => {
            let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;
            build::fresh(&dir)?;
            dir
        }
        None => {
            writeln!(out, "building the workspace")?;
            build::build()?
        }
    };
    match args.prebuilt {
        Some(_) => setup::carried(&mut out)?,
        None => setup::prepare(&mut out)?,
    }
    let host = Host::measure();
    writeln!(out, "{}", host.describe())?;
    // The peers are compared once, where the work is done; other hosts prove ours.
    let peers: &[&str] = if args.prebuilt.is_some() { &[] } else { &PEERS };
    let mut proof =
        Proof { totals: Totals::default(), notes: Vec::new(), host, filter: args.filter.clone(), peers };
    if args.filter.is_empty() {
        proof.add(cargo_test::run(&mut out, args.prebuilt.is_some())?);
    }
    let work = tempfile::Builder::new().prefix("conformance.").tempdir_in(crate::work_root())?;
    let place = Place { binaries: &binaries, work: work.path(), workers: crate::workers() };
    proof.runtimes(&mut out, place)?;
    proof.chain(&mut out, place)?;
    writeln!(out, "\nafter {} s:", began.elapsed().as_secs())?;
    for note in &proof.notes {
        writeln!(out, "{note}")?;
    }
    writeln!(out, "{}", proof.totals)?;
    Ok(if proof.totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sums so far, and what is to be said at the end.
struct Proof {
    totals: Totals,
    notes: Vec<String>,
    host: Host,
    filter: Vec<String>,
    peers: &'static [&'static str],
}

/// The runtimes that ours is compared with.
const PEERS: [&str; 3] = ["runc", "crun", "youki"];

impl Proof {
    fn add(&mut self, (totals, notes): (Totals, Vec<String>)) {
        self.totals.add(totals);
        self.notes.extend(notes);
    }

    fn count(&mut self, rows: &[Row]) -> Result<()> {
        let mut text = Vec::new();
        report::reasons(&mut text, rows)?;
        self.add((Totals::of(rows), String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()));
        Ok(())
    }

    /// Every runtime case on ours, alone and under engines, with the peers beside it: ours counts case by case, a peer as one comparison.
    fn runtimes(&mut self, out: &mut impl Write, place: Place<'_>) -> Result<()> {
        let host = &self.host.clone();
        let ours = Subject::find("ours", place.binaries, host)?;
        let mut subjects = vec![ours.clone()];
        for name in self.peers {
            match peer(name, host, place) {
                Ok(subject) => subjects.push(subject),
                Err(reason) => {
                    self.totals.count(&Outcome::NotRun(String::new()));
                    self.notes.push(format!("not run: peer {name}: {reason:#}"));
                }
            }
        }
        let chosen = chosen(cases::ALL, &self.filter);
        let mut rows = suite::run(place, &chosen, &subjects)?;
        // Engines take minutes: runc beside ours, the runtime that all of them were made for.
        let under: Vec<Subject> =
            subjects.iter().filter(|s| matches!(s.kind, Kind::Ours | Kind::Runc)).cloned().collect();
        let (groups, others) = engines::chosen(&self.filter, host);
        rows.extend(suite::groups(place, &groups, &under)?);
        rows.extend(suite::left_out(&others, &ours, engines::EMULATED));
        writeln!(out)?;
        report::table(out, &rows)?;
        report::per_subject(out, &rows)?;
        let (mine, theirs): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.subject == ours.name);
        self.count(&mine)?;
        for subject in subjects.iter().skip(1) {
            let rows: Vec<&Row> = theirs.iter().filter(|row| row.subject == subject.name).collect();
            self.judge(subject, &rows)?;
        }
        Ok(())
    }

    fn judge(&mut self, subject: &Subject, rows: &[&Row]) -> Result<()> {
        let outcome = match known::list(subject)? {
            None => Outcome::NotRun(format!(
                "no list for this version: {}",
                subject.version.lines().next().unwrap_or_default()
            )),
            Some(list) => match known::differences(&list, &self.host, rows) {
                differences if differences.is_empty() => Outcome::Passed,
                differences => Outcome::Failed(differences.join("\n    ")),
            },
        };
        self.totals.count(&outcome);
        match outcome {
            Outcome::Passed => {}
            Outcome::Failed(text) => {
                self.notes.push(format!("failed: known/{}.toml:\n    {text}", subject.name))
            }
            Outcome::NotRun(text) => self.notes.push(format!("not run: known/{}.toml: {text}", subject.name)),
        }
        Ok(())
    }

    /// The tests that cross packages.
    fn chain(&mut self, out: &mut impl Write, place: Place<'_>) -> Result<()> {
        let ours = Subject::find("ours", place.binaries, &self.host)?;
        let rows = suite::run(place, &chosen(chain::ALL, &self.filter), &[ours])?;
        writeln!(out)?;
        report::table(out, &rows)?;
        self.count(&rows)
    }
}

fn peer(name: &str, host: &Host, place: Place<'_>) -> Result<Subject> {
    process::find(name).context("it is not installed")?;
    let subject = Subject::find(name, place.binaries, host)?;
    trial::can_run(&subject, place.binaries, place.work).context("cannot run here")?;
    Ok(subject)
}

fn chosen(tables: &[&'static [Case]], filter: &[String]) -> Vec<&'static Case> {
    let wanted = |case: &&Case| filter.is_empty() || filter.iter().any(|f| case.name.contains(f.as_str()));
    tables.iter().copied().flatten().filter(wanted).collect()
}
