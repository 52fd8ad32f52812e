//! What a build says of itself: gathered from the command line, and from what the build came to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::attest::{Attestation, Facts, Request, Source, Sum, Times};
use crate::cli::attestation::Wanted;
use crate::cli::layer_comments;
use crate::cli::recipe::{Loaded, Recipe, pair};
use crate::context;
use crate::error::{Error, Kind};
use crate::graph::{self, Graph};
use crate::image::{self, Platform};
use crate::solve::{self, Scan, Solved};
use crate::store::Store;

const CONTENTS: &str = "https://spdx.dev/Document";

/// What was asked for, and when.
pub(crate) struct Asked<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) loaded: &'a Loaded,
    pub(crate) wanted: &'a Wanted,
    /// When the build began; `None`: times are not said.
    pub(crate) started: Option<SystemTime>,
}

/// What is said of the image of one platform: its contents, then how it was made.
pub(crate) fn said(
    asked: &Asked<'_>,
    store: &Store,
    (graph, solved): (&Graph, &Solved),
) -> Result<Vec<Attestation>, Error> {
    let platform = solved.image.platform.clone().unwrap_or_else(Platform::host);
    let image = image::open_descriptor(store, &solved.image, &platform)?;
    let mut all = Vec::new();
    for scan in &solved.scans {
        let mut contents = contents(scan)?;
        let of_result = scan.0.split('.').next() == Some(graph::RESULT_SCAN);
        if let Some(image) = image.as_ref().filter(|_| of_result) {
            layer_comments::add(&mut contents.predicate, store, &image.manifest)?;
        }
        all.push(contents);
    }
    if let Some(provenance) = &asked.wanted.provenance {
        let layers = image.map(|image| image.manifest.layers).unwrap_or_default();
        let sources: Vec<Source> = solved.taken.iter().map(source).collect();
        let request = request(asked, graph)?;
        let heights = &solved.heights;
        all.push(provenance.attest(&Facts {
            graph,
            sources: &sources,
            heights,
            layers: &layers,
            request: &request,
        })?);
    }
    Ok(all)
}

fn source((source, found): &(graph::Source, String)) -> Source {
    match source {
        graph::Source::Git(git) => of_repository(&git.remote, &git.reference, found),
        graph::Source::Http { url, .. } => Source { uri: url.clone(), sum: Sum::of_digest(found) },
        // No other source has an address.
        other => Source { uri: format!("{other:?}"), sum: Sum::of_digest(found) },
    }
}

/// A repository at what its reference meant.
pub(crate) fn of_repository(remote: &str, reference: &str, commit: &str) -> Source {
    let fragment = if reference.is_empty() { String::new() } else { format!("#{reference}") };
    Source { uri: format!("{remote}{fragment}"), sum: Sum::of_commit(commit) }
}

/// A scanner writes statements, whose subject it may leave to the builder.
fn contents((name, bytes): &Scan) -> Result<Attestation, Error> {
    let refuse = |why: &str| {
        Error::new(Kind::Invalid, format!("read {} of the scanner: {why}", name.escape_debug()))
            .hint("a scanner writes in-toto statements of SPDX documents")
    };
    let mut statement: Value = serde_json::from_slice(bytes).map_err(|error| refuse(&error.to_string()))?;
    if statement.get("predicateType").and_then(Value::as_str) != Some(CONTENTS) {
        return Err(refuse(&format!("its predicateType is not {CONTENTS}")));
    }
    let predicate = statement.get_mut("predicate").map(Value::take);
    let subjects = statement.get_mut("subject").map(Value::take);
    Ok(Attestation {
        predicate_type: CONTENTS.to_owned(),
        predicate: predicate.ok_or_else(|| refuse("it has no predicate"))?,
        subjects: subjects.and_then(|subjects| subjects.as_array().cloned()).unwrap_or_default(),
        filename: Some(name.clone()),
    })
}

fn request(asked: &Asked<'_>, graph: &Graph) -> Result<Request, Error> {
    let Asked { recipe, loaded, .. } = asked;
    let mut locals = BTreeSet::new();
    if loaded.origin.is_none() {
        locals.insert("dockerfile".to_owned());
        locals.extend(loaded.context.as_ref().map(|_| "context".to_owned()));
    }
    let mut contexts = Vec::new();
    for name in graph.named_contexts() {
        match loaded.origins.get(name) {
            Some(origin) => contexts.push(origin.clone()),
            None => drop(locals.insert(name.to_owned())),
        }
    }
    Ok(Request {
        args: args(recipe)?,
        locals,
        context: loaded.origin.clone(),
        vcs: vcs(loaded),
        contexts,
        dockerfile: (dockerfile(recipe, loaded), loaded.source.text.clone()),
        times: asked.started.map(times).transpose()?,
    })
}

/// As buildx gives it to BuildKit, and as there a variable turns it off.
fn vcs(loaded: &Loaded) -> BTreeMap<String, String> {
    let is_off = std::env::var("BUILDX_GIT_INFO").is_ok_and(|value| matches!(value.as_str(), "0" | "false"));
    let directory = loaded.context.as_deref().filter(|_| loaded.origin.is_none() && !is_off);
    let Some(checkout) = directory.and_then(context::checkout) else { return BTreeMap::new() };
    let source = checkout.source.map(|source| ("source".to_owned(), source));
    source.into_iter().chain([("revision".to_owned(), checkout.revision)]).collect()
}

/// The command line, in the words of BuildKit's frontend.
fn args(recipe: &Recipe) -> Result<BTreeMap<String, String>, Error> {
    let mut args = BTreeMap::new();
    for (name, value) in recipe.build_args()? {
        args.insert(format!("build-arg:{name}"), value);
    }
    for label in &recipe.labels {
        let (name, value) = pair("label", label)?;
        args.insert(format!("label:{name}"), value);
    }
    for context in &recipe.build_contexts {
        let (name, place) = pair("build context", context)?;
        let is_address = place.contains("://") || place.starts_with("git@");
        // The path on this machine is nobody's business.
        args.insert(format!("context:{name}"), if is_address { place } else { format!("local:{name}") });
    }
    args.extend(recipe.target.iter().map(|target| ("target".to_owned(), target.clone())));
    if recipe.no_cache || !recipe.no_cache_filter.is_empty() {
        args.insert("no-cache".to_owned(), recipe.no_cache_filter.join(","));
    }
    if !recipe.add_hosts.is_empty() {
        args.insert("add-hosts".to_owned(), recipe.add_hosts.join(","));
    }
    if recipe.network != "default" {
        args.insert("force-network-mode".to_owned(), recipe.network.clone());
    }
    Ok(args)
}

/// In a context from elsewhere the path that was asked for, else the name of the file alone.
fn dockerfile(recipe: &Recipe, loaded: &Loaded) -> String {
    let usual = "Dockerfile".to_owned();
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match &recipe.file {
        Some(path) if path == Path::new("-") => usual,
        Some(path) if loaded.origin.is_some() => path.display().to_string(),
        Some(path) => name(path).unwrap_or(usual),
        None if loaded.context.is_some() => name(Path::new(&loaded.source.name)).unwrap_or(usual),
        None => usual,
    }
}

fn times(started: SystemTime) -> Result<Times, Error> {
    let shown = |time: SystemTime| {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        solve::rfc3339(i64::try_from(seconds).unwrap_or(i64::MAX))
    };
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map_err(|error| Error::system("make a name for the build", error))?;
    Ok(Times { started: shown(started), finished: shown(SystemTime::now()), id: id.trim().to_owned() })
}
