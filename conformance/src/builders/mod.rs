//! `conformance bench --builder`: builders measured side by side, in turn within one run, since only such times can be compared.
//!
//! Invariant: two builders are compared only over the same product: the same compression, an archive or none.

mod contestant;
mod usage;
mod workload;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::contestant::{Contestant, Product};
use self::usage::Cost;
use self::workload::Workload;
use crate::build;
use crate::differential::place::Place;

/// What the command line asks for.
pub(crate) struct Wanted<'a> {
    /// Our builder, or another version of it: a path, or `ours`.
    pub(crate) builder: &'a str,
    /// docker, buildkit, buildah.
    pub(crate) peers: &'a [String],
    /// How often everything is measured.
    pub(crate) rounds: u32,
    /// Only cases whose name contains one of these.
    pub(crate) filter: &'a [String],
    /// Where they work.
    pub(crate) work: &'a Path,
}

/// State of the cache when a build begins.
const STATES: [&str; 3] = ["cold", "cached", "one file changed"];

/// Costs of one case and product, by state and builder.
type Costs = BTreeMap<(usize, &'static str), Vec<Cost>>;

/// Measures, and prints the table.
pub(crate) fn bench(args: &Wanted<'_>) -> Result<ExitCode> {
    let binaries = build::beside()?;
    let work = tempfile::Builder::new().prefix("builders.").tempdir_in(args.work)?;
    let place = Place::make(work.path(), &binaries)?;
    let binary = match args.builder {
        "ours" => binaries.join("builder"),
        path => PathBuf::from(path).canonicalize().with_context(|| format!("find {path}"))?,
    };
    let wanted =
        |w: &Workload| args.filter.is_empty() || args.filter.iter().any(|f| w.name().contains(f.as_str()));
    let workloads: Vec<Workload> = workload::ALL.into_iter().filter(wanted).collect();
    let ours = Contestant::ours(&place, binary, binaries.join("runtime"))?;
    let peak = peak(&ours, &place)?;
    let mut contestants = vec![ours];
    for peer in args.peers {
        contestants.push(match peer.as_str() {
            "docker" => Contestant::docker(&place)?,
            "buildkit" => Contestant::buildkit(&place)?,
            "buildah" => Contestant::buildah(&place)?,
            other => bail!("{other} is no peer: docker, buildkit, buildah"),
        });
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "peak memory of ours, {}: {} MiB", Workload::Large.name(), peak / 1024)?;
    let measured = measure(&contestants, &workloads, (&place, args.rounds), &mut out);
    for contestant in contestants {
        contestant.end()?;
    }
    measured?;
    Ok(ExitCode::SUCCESS)
}

/// Before anything else is run, so that no other child was larger.
fn peak(ours: &Contestant, place: &Place) -> Result<i64> {
    let (folder, context) = Workload::Large.write(&place.folder("peak")?)?;
    ours.forget()?;
    ours.build((&folder, &context), Product::Zstd)?;
    usage::peak()
}

/// Each case's rows are told as soon as they are known.
fn measure(
    contestants: &[Contestant],
    workloads: &[Workload],
    (place, rounds): (&Place, u32),
    out: &mut impl Write,
) -> Result<()> {
    let head = format!("{:52} {:17} {:9} {:>8} {:>8}", "case", "", "builder", "wall s", "CPU s");
    writeln!(out, "{head}  ours / it: wall, CPU")?;
    let mut changes = 0;
    for (number, workload) in workloads.iter().enumerate() {
        let (folder, context) = workload.write(&place.folder(&format!("case-{number}"))?)?;
        for product in [Product::Stored, Product::Gzip, Product::Zstd] {
            let able: Vec<&Contestant> = contestants.iter().filter(|c| c.offers(product)).collect();
            if able.len() < 2 && contestants.len() > 1 {
                continue;
            }
            let mut costs = Costs::new();
            for _ in 0..rounds {
                for contestant in &able {
                    let so_far = (&mut changes, &mut costs);
                    round(contestant, (*workload, product), (&folder, &context), so_far)?;
                }
            }
            print(out, (*workload, product), &costs)?;
            out.flush()?;
        }
    }
    Ok(())
}

/// One builder, from nothing kept on; each meets a change that none has seen.
fn round(
    contestant: &Contestant,
    (workload, product): (Workload, Product),
    (folder, context): (&Path, &Path),
    (changes, costs): (&mut u64, &mut Costs),
) -> Result<()> {
    contestant.forget()?;
    for (state, _) in STATES.iter().enumerate() {
        if state == 2 {
            *changes += 1;
            if !workload.change(context, *changes)? {
                continue;
            }
        }
        let cost = contestant.build((folder, context), product)?;
        costs.entry((state, contestant.name())).or_default().push(cost);
    }
    Ok(())
}

fn print(out: &mut impl Write, (workload, product): (Workload, Product), costs: &Costs) -> Result<()> {
    for ((state, builder), all) in costs {
        let (wall, cpu) = (median(all, |cost| cost.wall), median(all, |cost| cost.cpu));
        let ours = costs.get(&(*state, "ours")).filter(|_| *builder != "ours");
        let ratio = ours.map_or(String::new(), |ours| {
            let ratio = |ours: f64, theirs: f64| if theirs > 0.0 { ours / theirs } else { f64::NAN };
            format!(
                "{:8.2} {:8.2}",
                ratio(median(ours, |cost| cost.wall), wall),
                ratio(median(ours, |cost| cost.cpu), cpu)
            )
        });
        let floor = if *state == 0 { workload.floor().as_secs_f64() } else { 0.0 };
        let above = ours.filter(|_| floor > 0.0).map_or(String::new(), |ours| {
            let ratio = (median(ours, |cost| cost.wall) - floor) / (wall - floor);
            format!("  above the {floor:.0} s asleep: {ratio:.2}")
        });
        let name = format!("{} ({})", workload.name(), product.name());
        let state = STATES.get(*state).copied().unwrap_or_default();
        let line = format!("{name:52} {state:17} {builder:9} {wall:8.3} {cpu:8.3} {ratio}{above}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn median(costs: &[Cost], field: impl Fn(&Cost) -> Duration) -> f64 {
    let mut values: Vec<Duration> = costs.iter().map(field).collect();
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default().as_secs_f64()
}
