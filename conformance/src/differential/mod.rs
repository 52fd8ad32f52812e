//! `conformance differential`: the same Dockerfiles built by other builders and by ours, the images compared file by file and field
//! by field.
//!
//! Invariant: a difference that no row of `known/buildkit.toml` explains is a failure, and so is a row that explains nothing.

mod buildah;
mod builder;
pub(crate) mod buildkit;
mod compare;
pub(crate) mod docker;
mod golden;
mod image;
mod known;
mod ours;
pub(crate) mod place;
mod recipe;
mod tree;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use self::builder::Builder;
use self::compare::Difference;
use self::image::Image;
use self::known::{Known, Selection};
use self::place::Place;
use self::recipe::{Expected, Frontend, Recipe};
use crate::build;
use crate::case::NotRun;
use crate::process::Ended;
use crate::report::Totals;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A builder to compare with: docker (its daemon is started), buildkit (buildkitd and buildctl on PATH), buildah.
    #[arg(long = "reference", default_value = "docker")]
    references: Vec<String>,
    /// Only recipes whose name contains this. May be given several times.
    #[arg(long)]
    filter: Vec<String>,
    /// Only recipes of a language newer than this, as 1.2: what one reference cannot build is left to another.
    #[arg(long, value_parser = recipe::frontend)]
    newer_than: Option<Frontend>,
    /// Keep what was built.
    #[arg(long)]
    keep: bool,
}

/// Builds, compares, and ends with passed, failed and not run.
pub(crate) fn differential(args: &Args) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let binaries = build::beside()?;
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let work = tempfile::Builder::new()
        .prefix("differential.")
        .disable_cleanup(args.keep)
        .tempdir_in(crate::work_root())?;
    let place = Place::make(work.path(), &binaries)?;
    let mut recipes = recipe::all()?;
    recipes.retain(|recipe| args.newer_than.is_none_or(|version| recipe.since > version));
    recipes.retain(|recipe| {
        args.filter.is_empty() || args.filter.iter().any(|f| recipe.name.contains(f.as_str()))
    });
    let whole = args.filter.is_empty() && args.newer_than.is_none();
    let selection = if whole { Selection::Whole } else { Selection::Part };
    let mut totals = Totals::default();
    let has = |program: &String| crate::process::find(program).is_some();
    let (chosen, lacking): (Vec<&Recipe>, Vec<&Recipe>) =
        recipes.iter().partition(|recipe| recipe.needs.as_ref().is_none_or(has));
    for recipe in &lacking {
        let program = recipe.needs.as_deref().unwrap_or_default();
        writeln!(out, "not run: {program} is not installed: {}", recipe.name)?;
        totals.skipped += 1;
    }
    for recipe in &chosen {
        place.write(recipe)?;
    }
    let ours = built(Box::new(ours::Ours::start(&place, &binaries)?), &place, &chosen, &mut out)?;
    totals.add(goldens((&place, began), (&chosen, &ours), &mut out)?);
    for name in &args.references {
        match start(name, &place) {
            Ok(reference) => {
                totals.add(compared(reference, (&place, began), (&chosen, &ours, selection), &mut out)?)
            }
            Err(error) if error.is::<NotRun>() => {
                writeln!(out, "not run: {name}: {error:#}")?;
                totals.skipped += 1;
            }
            Err(error) => return Err(error.context(format!("start {name}"))),
        }
    }
    if args.keep {
        writeln!(out, "kept: {}", work.path().display())?;
    }
    writeln!(out, "{totals}")?;
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares what is newer than every packaged reference with what is kept.
fn goldens(
    (place, began): (&Place, u64),
    (recipes, ours): (&[&Recipe], &Built),
    out: &mut impl Write,
) -> Result<Totals> {
    let mut images = BTreeMap::new();
    let mut wrong = Vec::new();
    for recipe in recipes.iter().filter(|recipe| golden::is_newer(recipe)) {
        match ours.images.get(&recipe.name) {
            Some(image) => drop(images.insert(recipe.name.as_str(), (image, began))),
            None => wrong.push(format!("{}: {}", recipe.name, ours.outcome(recipe)?)),
        }
    }
    let all = images.len() + wrong.len();
    wrong.extend(golden::wrong(&images, &place.base_tree()?)?);
    for text in &wrong {
        writeln!(out, "failed: {text}")?;
    }
    let totals = Totals { passed: all.saturating_sub(wrong.len()), failed: wrong.len(), skipped: 0 };
    writeln!(out, "goldens, of what is newer than every packaged reference: {totals}")?;
    Ok(totals)
}

fn start(name: &str, place: &Place) -> Result<Box<dyn Builder>> {
    let needed: &[&str] = match name {
        "docker" => &["dockerd", "docker", "setpriv", "unshare"],
        "buildkit" => &["buildkitd", "buildctl", "runc", "setpriv", "unshare"],
        "buildah" => &["buildah", "runc"],
        _ => bail!("{name} is no reference: docker, buildkit, buildah"),
    };
    if !nix::unistd::geteuid().is_root() {
        return Err(crate::case::not_run("needs root"));
    }
    if let Some(absent) = needed.iter().find(|program| crate::process::find(program).is_none()) {
        return Err(crate::case::not_run(format!("{absent} is not installed")));
    }
    Ok(match name {
        "buildah" => Box::new(buildah::Buildah::start(place)?),
        "docker" => Box::new(docker::Docker::start(place)?),
        _ => Box::new(buildkit::Reference::start(place)?),
    })
}

/// What one builder made: how each build ended, and the images.
struct Built {
    ends: BTreeMap<String, Ended>,
    images: BTreeMap<String, Image>,
}

impl Built {
    /// Whether there is an image, and else why not.
    fn outcome(&self, recipe: &Recipe) -> Result<String> {
        if self.images.contains_key(&recipe.name) {
            return Ok("an image".to_owned());
        }
        let ended = self.ends.get(&recipe.name).with_context(|| format!("find how {} ended", recipe.name))?;
        Ok(format!("no image ({})", ended.err.trim().lines().last().unwrap_or_default()))
    }
}

fn built(
    builder: Box<dyn Builder>,
    place: &Place,
    recipes: &[&Recipe],
    out: &mut impl Write,
) -> Result<Built> {
    let clock = Instant::now();
    let result = build_all(builder.as_ref(), place, recipes).and_then(|ends| {
        let succeeded = |recipe: &&&Recipe| ends.get(&recipe.name).is_some_and(|ended| ended.code == 0);
        let images = builder.images(&recipes.iter().filter(succeeded).copied().collect::<Vec<_>>())?;
        Ok(Built { ends, images })
    });
    writeln!(out, "{}: {} recipes in {} s", builder.name(), recipes.len(), clock.elapsed().as_secs())?;
    // Images are read before the builder ends, and whatever came of them it must end.
    builder.end()?;
    result
}

fn build_all(builder: &dyn Builder, place: &Place, recipes: &[&Recipe]) -> Result<BTreeMap<String, Ended>> {
    let queue: Mutex<VecDeque<&Recipe>> = Mutex::new(recipes.iter().copied().collect());
    let ends = Mutex::new(Vec::new());
    let take = || queue.lock().ok()?.pop_front();
    std::thread::scope(|scope| {
        for _ in 0..crate::workers() {
            scope.spawn(|| {
                while let Some(recipe) = take() {
                    let ended =
                        builder.build(place, recipe).with_context(|| format!("build {}", recipe.name));
                    if let Ok(mut ends) = ends.lock() {
                        ends.push((recipe.name.clone(), ended));
                    }
                }
            });
        }
    });
    ends.into_inner().unwrap_or_default().into_iter().map(|(name, ended)| Ok((name, ended?))).collect()
}

fn compared(
    reference: Box<dyn Builder>,
    (place, began): (&Place, u64),
    (recipes, ours, selection): (&[&Recipe], &Built, Selection),
    out: &mut impl Write,
) -> Result<Totals> {
    let (name, frontend) = (reference.name().to_owned(), reference.frontend());
    let (spoken, newer): (Vec<&Recipe>, Vec<&Recipe>) =
        recipes.iter().partition(|recipe| recipe.since <= frontend);
    let theirs = built(reference, place, &spoken, out)?;
    let known = Known::read()?;
    let mut judge = known.judge(&name);
    let mut totals = Totals { skipped: newer.len(), ..Totals::default() };
    for recipe in &spoken {
        let found = differences(recipe, &theirs, ours, began)?;
        let wrong: Vec<String> =
            judge.unexplained(&recipe.name, found).iter().map(ToString::to_string).collect();
        if wrong.is_empty() {
            totals.passed += 1;
        } else {
            totals.failed += 1;
            writeln!(out, "failed: {} [{name}]\n    {}", recipe.name, wrong.join("\n    "))?;
        }
    }
    let names: Vec<&str> = spoken.iter().map(|recipe| recipe.name.as_str()).collect();
    for line in judge.unneeded(&names, selection) {
        totals.failed += 1;
        writeln!(out, "failed: {line} [{name}]")?;
    }
    if !newer.is_empty() {
        let names: Vec<&str> = newer.iter().map(|recipe| recipe.name.as_str()).collect();
        writeln!(out, "not run: newer than frontend {frontend} of {name}: {}", names.join(" "))?;
    }
    writeln!(out, "{name}: {totals}")?;
    Ok(totals)
}

/// In what the results of a recipe differ: in whether there is an image, or in the images.
fn differences(recipe: &Recipe, theirs: &Built, ours: &Built, began: u64) -> Result<Vec<Difference>> {
    let expected = recipe.expected == Expected::Image;
    match (theirs.images.get(&recipe.name), ours.images.get(&recipe.name)) {
        (Some(there), Some(here)) if expected => compare::differences(there, here, began),
        (None, None) if !expected => Ok(Vec::new()),
        _ => {
            let wanted = if expected { "wanted" } else { "not wanted" };
            Ok(vec![Difference {
                field: format!("image ({wanted})"),
                theirs: theirs.outcome(recipe)?,
                ours: ours.outcome(recipe)?,
            }])
        }
    }
}
