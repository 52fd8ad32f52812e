//! `builder build`: a Dockerfile and a context become an image in the store.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::bases::{self, Pull};
use crate::cli::outline::{self, Format};
use crate::cli::recipe::{Loaded, Recipe, pair};
use crate::cli::{Global, check, credential};
use crate::context::Tree;
use crate::error::{Error, Kind};
use crate::graph::Graph;
use crate::image;
use crate::layer::Compression;
use crate::progress::{self, Event, Mode, Sender};
use crate::registry::Reference;
use crate::solve;
use crate::step::Credentials;
use crate::store::{Descriptor, Store, media};
use crate::sys::userns::{self, Side};

/// Builds an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    recipe: Recipe,
    /// Name of the image; may be given several times
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<Reference>,
    /// Ask the registry for base images even if the store has them
    #[arg(long)]
    pull: bool,
    /// How progress is shown, on stderr
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
    /// Show nothing but failures
    #[arg(short, long)]
    quiet: bool,
    /// A secret for RUN --mount=type=secret: id=NAME[,src=FILE][,env=VARIABLE]
    #[arg(long = "secret", value_name = "id=NAME,...")]
    secrets: Vec<String>,
    /// An SSH agent for RUN --mount=type=ssh: default, or NAME=SOCKET
    #[arg(long = "ssh", value_name = "NAME[=SOCKET]")]
    agents: Vec<String>,
    /// How layers are compressed: zstd, gzip or none, with a level as in zstd:3
    #[arg(long, value_name = "NAME[:LEVEL]", default_value = "zstd")]
    compression: Compression,
    /// Annotation of the image's manifest
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// Write the image's digest to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write names and digests to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Check the Dockerfile against the rules instead of building: --call check
    #[arg(long)]
    check: bool,
    /// What to do: build; check it; list its arguments and secrets (outline), or its stages (targets)
    #[arg(long, value_name = "build|check|outline|targets[,format=json]", default_value = "build")]
    call: String,
    /// Say for each step that is carried out why it was not cached
    #[arg(long)]
    explain: bool,
    /// The runtime for RUN [default: runtime, beside this program or on PATH]
    #[arg(long, env = "CORACLE_RUNTIME", value_name = "PATH")]
    runtime: Option<PathBuf>,
}

/// Prints the digest of the image's manifest.
pub(crate) fn build(args: Args, global: &Global) -> Result<ExitCode, Error> {
    let (call, format) = match args.call.split_once(",format=") {
        Some((call, "json")) => (call, Format::Json),
        Some((call, "text")) => (call, Format::Text),
        _ => (args.call.as_str(), Format::Text),
    };
    match call {
        "build" if !args.check => {}
        "build" | "check" if format == Format::Text => {
            return check::check(&check::Args { recipe: args.recipe });
        }
        "outline" => return outline::outline(&args.recipe, format),
        "targets" => return outline::targets(&args.recipe, format),
        _ => return Err(Error::new(Kind::Invalid, format!("call {} is not known", args.call))),
    }
    let loaded = args.recipe.load()?;
    let credentials = credential::read(&args.secrets, &args.agents)?;
    let store = Store::open(&global.store_root()?)?;
    let _shared = store.share()?;
    // Pulling needs no namespaces, and a signal may end it at any moment: only the steps are carried out inside.
    let graphs = shown(&args, |sender| plan(&args, &loaded, &store, sender))?;
    if let Side::Outer(code) = userns::enter()? {
        return Ok(code);
    }
    let images =
        shown(&args, |sender| solve(&args, (&loaded, &graphs), (store.clone(), credentials), sender))?;
    let descriptor = match images.as_slice() {
        [image] if !is_index(&args) => image.clone(),
        _ => index(&store, images, annotations(&args)?)?,
    };
    name(&args, &store, &descriptor)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether an index is wanted even over a single image.
fn is_index(args: &Args) -> bool {
    args.recipe
        .build_args
        .iter()
        .any(|arg| matches!(arg.as_str(), "BUILDKIT_MULTI_PLATFORM=1" | "BUILDKIT_MULTI_PLATFORM=true"))
}

/// One name for the images of several platforms.
fn index(
    store: &Store,
    manifests: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<Descriptor, Error> {
    let mut index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media::INDEX,
        "manifests": manifests,
    });
    if let (false, serde_json::Value::Object(fields)) = (annotations.is_empty(), &mut index) {
        fields.insert("annotations".to_owned(), serde_json::json!(annotations));
    }
    store.put_blob(media::INDEX, index.to_string().as_bytes())
}

fn annotations(args: &Args) -> Result<BTreeMap<String, String>, Error> {
    args.annotations.iter().map(|text| pair("annotation", text)).collect()
}

/// Carries out work while its progress is shown.
fn shown<T>(args: &Args, work: impl FnOnce(&Sender) -> Result<T, Error>) -> Result<T, Error> {
    let mode = if args.quiet { Mode::Quiet } else { args.progress };
    let (sender, display) = progress::start(mode)?;
    let result = work(&sender);
    drop(sender);
    display.finish();
    result
}

/// The graph for each platform.
fn plan(args: &Args, loaded: &Loaded, store: &Store, sender: &Sender) -> Result<Vec<Graph>, Error> {
    let pull = if args.pull { Pull::Always } else { Pull::Missing };
    let mut graphs = Vec::new();
    for platform in args.recipe.platforms() {
        let inputs = args.recipe.inputs(platform)?;
        let (graph, found) = bases::lower(loaded, inputs, &bases::Source { store, pull, sender })?;
        // The first says what is wrong with the file; the others would repeat it.
        if graphs.is_empty() {
            for warning in check::warnings(loaded, found)? {
                let (message, excerpt) = check::shown(loaded, &warning);
                sender.send(Event::Warning { message, excerpt: Some(excerpt) });
            }
        }
        graphs.push(graph);
    }
    Ok(graphs)
}

fn solve(
    args: &Args,
    (loaded, graphs): (&Loaded, &[Graph]),
    (store, credentials): (Store, Credentials),
    sender: &Sender,
) -> Result<Vec<Descriptor>, Error> {
    let workspace = store.workspace()?;
    let context = match &loaded.context {
        Some(directory) => Tree::directory(directory, loaded.ignore.clone())?,
        None => {
            let empty = workspace.path().join("context");
            std::fs::create_dir(&empty).map_err(|e| Error::system("make an empty context", e))?;
            Tree::directory(&empty, None)?
        }
    };
    let mut named = BTreeMap::new();
    for (name, place) in args.recipe.contexts()? {
        if let Some(directory) = place.directory {
            named.insert(name, Arc::new(Tree::directory(&directory, None)?));
        }
    }
    let env = solve::Env {
        store,
        context: Arc::new(context),
        named,
        credentials,
        runtime: args.runtime.clone(),
        progress: sender.clone(),
        explain: args.explain,
        compression: args.compression,
        annotations: annotations(args)?,
    };
    graphs.iter().map(|graph| solve::solve(graph, &env)).collect()
}

/// Gives the image its names, and tells who asked.
fn name(args: &Args, store: &Store, descriptor: &Descriptor) -> Result<(), Error> {
    for reference in &args.tags {
        image::tag(store, reference, descriptor)?;
    }
    let digest = descriptor.digest.to_string();
    if let Some(path) = &args.iidfile {
        std::fs::write(path, &digest).map_err(|e| Error::system(format!("write {}", path.display()), e))?;
    }
    if let Some(path) = &args.metadata_file {
        let names: Vec<String> = args.tags.iter().map(ToString::to_string).collect();
        let metadata = serde_json::json!({
            "containerimage.descriptor": descriptor,
            "containerimage.digest": digest,
            "image.name": names.join(","),
        });
        let text = format!("{metadata:#}\n");
        std::fs::write(path, text).map_err(|e| Error::system(format!("write {}", path.display()), e))?;
    }
    writeln!(std::io::stdout(), "{digest}").map_err(|e| Error::system("write to stdout", e))
}
