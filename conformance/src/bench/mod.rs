//! `conformance bench`: runtimes measured side by side, in turn within one run, since only such times can be compared.
//!
//! Invariant: a number stands for containers that really ran; a runtime that cannot do something here has a reason there, and no
//! ratio.

mod bundles;
mod count;
mod extra;
mod floor;
mod layout;
mod measure;
mod statistics;
mod svg;
mod table;
mod workloads;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::bundles::Kind;
use self::measure::{PROGRAM, Place, SLEEP, Sample};
use self::statistics::{Spread, float};
use self::table::{Cell, Line, Outcome, Single};
use self::workloads::{Deed, Pace, Workload};
use crate::needs::Host;
use crate::subject::Subject;
use crate::{assets, build, trial};

pub(crate) use self::count::{Args as CountArgs, count};
pub(crate) use self::layout::{Args as LayoutArgs, layout};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A runtime: a path, a name on PATH, or `ours`. May be given several times; ratios are to the first.
    #[arg(long = "runtime", required_unless_present = "builder")]
    runtimes: Vec<String>,
    /// A builder in place of runtimes: a path, or `ours`, which it is without a value.
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "ours")]
    #[arg(conflicts_with_all = ["runtimes", "alive", "json", "svg"])]
    pub(crate) builder: Option<String>,
    /// A builder to compare it with: docker, buildkit (buildkitd and buildctl on PATH), buildah. May be given several times.
    #[arg(long = "peer", requires = "builder")]
    pub(crate) peers: Vec<String>,
    /// Where builders work [default: /var/tmp]. An ext4 without a journal makes files slowly for minutes after others were deleted
    #[arg(long, requires = "builder", value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// How often each workload is measured [default: 60, of builders 3]; a third as often with pauses.
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Only workloads whose name contains this. May be given several times.
    #[arg(long)]
    pub(crate) filter: Vec<String>,
    /// So many containers at once, to see whether the last one starts as fast as the first; 0 leaves it out.
    #[arg(long, default_value_t = 0)]
    alive: u32,
    /// Also write everything as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also draw the wall times into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// What all measurements share.
struct Site<'a> {
    subjects: &'a [Subject],
    /// A folder in memory: where the state is, as in /run.
    state: &'a Path,
    work: &'a Path,
    root: &'a Path,
    probe: &'a Path,
}

impl Args {
    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(60)
    }
}

/// Measures, and prints the table.
pub(crate) fn bench(args: &Args) -> Result<ExitCode> {
    let host = Host::measure();
    let binaries = build::beside()?;
    let work = tempfile::Builder::new().prefix("conformance.").tempdir_in(crate::work_root())?;
    let state = tempfile::Builder::new().prefix("coracle-bench.").tempdir_in(in_memory())?;
    // What a runtime leaves behind when it ends, the containers that it started, is ours to wait for.
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut subjects = Vec::new();
    let mut cannot = false;
    for text in &args.runtimes {
        let subject = Subject::find(text, &binaries, &host)?;
        match able(&subject, &binaries, work.path()) {
            Ok(()) => subjects.push(subject),
            Err(error) => {
                cannot = true;
                writeln!(std::io::stderr(), "{}: cannot run here: {error:#}", subject.name)?;
            }
        }
    }
    ensure!(!subjects.is_empty(), "no runtime can run here");
    let root = bundles::root(work.path(), &assets::get(&binaries, "busybox")?)?;
    let probe = binaries.join("probe");
    let site =
        Site { subjects: &subjects, state: state.path(), work: work.path(), root: &root, probe: &probe };
    let outcome = everything(args, &site, host.describe())?;
    table::print(&mut std::io::stdout().lock(), &outcome)?;
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&outcome)?)?;
    }
    if let Some(file) = &args.svg {
        std::fs::write(file, svg::draw(&outcome))?;
    }
    Ok(if cannot { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// State belongs on a tmpfs; /run is one nearly everywhere, but not an ordinary user's.
fn in_memory() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { crate::work_root() }
}

fn able(subject: &Subject, binaries: &Path, work: &Path) -> Result<()> {
    ensure!(
        !subject.is_wrapped(),
        "on a hybrid host it needs a mount namespace of its own, which would be measured too: use a pure cgroup v2 host"
    );
    trial::can_run(subject, binaries, work)?;
    measure::reap_rest()
}

fn everything(args: &Args, site: &Site<'_>, host: String) -> Result<Outcome> {
    let versions = |subject: &Subject| {
        let first = subject.version.lines().next().unwrap_or_default().to_owned();
        (subject.name.clone(), first)
    };
    let runtimes = site.subjects.iter().map(versions).collect();
    let mut outcome = Outcome { host, runtimes, rounds: args.rounds(), ..Outcome::default() };
    let wanted =
        |name: &str| args.filter.is_empty() || args.filter.iter().any(|part| name.contains(part.as_str()));
    for workload in workloads::all().into_iter().filter(|workload| wanted(&workload.name())) {
        writeln!(std::io::stderr(), "{}", workload.name())?;
        outcome.lines.push(line(workload, args.rounds(), site)?);
    }
    if wanted("throughput") {
        for creators in [2, 8] {
            outcome.singles.push(throughput(creators, args.rounds(), site)?);
        }
    }
    if wanted("memory") {
        outcome.singles.push(memory(site)?);
    }
    for subject in site.subjects.iter().filter(|_| args.alive > 0) {
        let bundle = bundles::write(Kind::Plain, &scratch(site)?, site.root, &SLEEP)?;
        let places: Vec<Place<'_>> =
            (0..args.alive).map(|n| place(subject, site, bundle.clone(), &format!("many{n}"))).collect();
        outcome.alive.push((subject.name.clone(), extra::alive(&places)?));
    }
    Ok(outcome)
}

fn place<'a>(subject: &'a Subject, site: &'a Site<'_>, bundle: PathBuf, name: &str) -> Place<'a> {
    let id = format!("bench{}-{}-{name}", std::process::id(), subject.name);
    Place::new(subject, site.state, bundle, id)
}

/// A new folder for bundles.
fn scratch(site: &Site<'_>) -> Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix("b").tempdir_in(site.work)?.keep())
}

/// One workload with each runtime that can do it, in turn; the floor beside the workloads that it is the floor of.
fn line(workload: Workload, rounds: u32, site: &Site<'_>) -> Result<Line> {
    let args = if workload.needs_container() { SLEEP } else { PROGRAM };
    let bundle = bundles::write(workload.kind, &scratch(site)?, site.root, &args)?;
    let mut line = Line { workload: workload.name(), cells: Vec::new(), cannot: Vec::new() };
    let mut places = Vec::new();
    for subject in site.subjects {
        let place = place(subject, site, bundle.clone(), "c");
        let begun = if workload.needs_container() { place.begin() } else { Ok(()) };
        match begun.and_then(|()| place.once(workload).map(drop)) {
            Ok(()) => places.push(place),
            Err(error) => {
                place.end()?;
                line.cannot.push((subject.name.clone(), format!("{error:#}")));
            }
        }
    }
    let has_floor =
        workload.deed == Deed::Run && workload.kind == Kind::Plain && nix::unistd::geteuid().is_root();
    let rounds = if workload.pace == Pace::Gaps { rounds.div_ceil(3) } else { rounds };
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); places.len() + 1];
    for _ in 0..rounds {
        for (place, samples) in places.iter().zip(&mut samples) {
            pause(workload.pace);
            samples.push(place.once(workload)?);
        }
        if let (true, Some(floors)) = (has_floor, samples.last_mut()) {
            pause(workload.pace);
            floors.push(floor::once(site.probe, site.root)?);
        }
    }
    for (place, samples) in places.iter().zip(&samples) {
        let counts = match (workload.deed, workload.pace) {
            (Deed::Create, _) | (_, Pace::Gaps) => None,
            _ => place.count(workload.deed).ok(),
        };
        let mut cell = cell(&place.subject.name, samples);
        cell.calls = counts.map(|counts| counts.calls);
        cell.own_calls = counts.map(|counts| counts.own);
        cell.clones = counts.map(|counts| counts.clones);
        cell.peak = counts.map(|counts| counts.peak);
        line.cells.push(cell);
    }
    if let (true, Some(floors)) = (has_floor, samples.last()) {
        line.cells.push(cell("(floor)", floors));
    }
    places.iter().filter(|_| workload.needs_container()).try_for_each(Place::end)?;
    Ok(line)
}

/// Of idleness: what is measured is what comes after it.
fn pause(pace: Pace) {
    if pace == Pace::Gaps {
        std::thread::sleep(Duration::from_millis(80));
    }
}

fn cell(runtime: &str, samples: &[Sample]) -> Cell {
    let of = |value: fn(&Sample) -> f64| Spread::of(samples.iter().map(value));
    Cell {
        runtime: runtime.to_owned(),
        wall: of(|sample| sample.wall.as_secs_f64() * 1e3),
        cpu: of(|sample| sample.cpu.as_secs_f64() * 1e3),
        faults: of(|sample| float(sample.faults)).median,
        calls: None,
        own_calls: None,
        clones: None,
        peak: None,
    }
}

/// The median of several tries, in turn; the floor's too, where there is one.
fn throughput(creators: usize, rounds: u32, site: &Site<'_>) -> Result<Single> {
    const RUN: Workload = Workload { deed: Deed::Run, kind: Kind::Plain, pace: Pace::BackToBack };
    let bundle = bundles::write(Kind::Plain, &scratch(site)?, site.root, &PROGRAM)?;
    let each = (rounds / 6).max(2);
    let mut tries: Vec<Vec<f64>> = vec![Vec::new(); site.subjects.len()];
    let mut floors = Vec::new();
    for _ in 0..5 {
        for (subject, tries) in site.subjects.iter().zip(&mut tries) {
            let places: Vec<Place<'_>> =
                (0..creators).map(|n| place(subject, site, bundle.clone(), &format!("t{n}"))).collect();
            let once = |creator: usize| places.get(creator).context("find a creator's place")?.once(RUN);
            tries.push(extra::throughput(creators, each, once)?);
        }
        if nix::unistd::geteuid().is_root() {
            floors.push(extra::throughput(creators, each, |_| floor::once(site.probe, site.root))?);
        }
    }
    let median = |tries: Vec<f64>| Spread::of(tries.into_iter()).median;
    let named = site.subjects.iter().zip(tries);
    let mut values: Vec<_> = named.map(|(subject, tries)| (subject.name.clone(), median(tries))).collect();
    values.extend((!floors.is_empty()).then(|| ("(floor)".to_owned(), median(floors))));
    Ok(Single { what: format!("throughput, {creators} at once, /s"), values })
}

fn memory(site: &Site<'_>) -> Result<Single> {
    let bundle = bundles::write(Kind::Plain, &scratch(site)?, site.root, &SLEEP)?;
    let mut values = Vec::new();
    for subject in site.subjects {
        let place = place(subject, site, bundle.clone(), "m");
        let kib = extra::waiting(&place).context("measure the memory of a container that waits")?;
        values.push((subject.name.clone(), float(kib)));
    }
    Ok(Single { what: "memory of one created, KiB".to_owned(), values })
}
