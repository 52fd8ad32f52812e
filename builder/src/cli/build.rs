//! `builder build`: a Dockerfile and a context become an image in the store.

mod plan;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::bundle::{self, DEVICE_DIRECTORIES, Ulimit};
use crate::cli::annotation::Annotation;
use crate::cli::attestation::{self, Wanted};
use crate::cli::attested::{self, Asked};
use crate::cli::cache::{self, CacheTo};
use crate::cli::compose::{self, Built};
use crate::cli::deliver::deliver;
use crate::cli::failure::{self, OnFailure};
use crate::cli::outline::{self, Format};
use crate::cli::output::Output;
use crate::cli::recipe::{Loaded, Recipe};
use crate::cli::{Global, check, credential, verify};
use crate::error::{Error, Kind};
use crate::graph::Graph;
use crate::image::{self, CachePlace};
use crate::layer::Compression;
use crate::progress::{self, Mode, Sender};
use crate::registry::Reference;
use crate::solve::{self, Exported, Extent, Known, Solved};
use crate::step::{Credentials, Interrupt};
use crate::store::{Descriptor, Store};
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
    /// Annotation of the image's manifest, or of what stands before the colon: manifest[PLATFORM], manifest-descriptor or index
    #[arg(long = "annotation", value_name = "[WHERE:]NAME=VALUE", value_parser = Annotation::parse)]
    annotations: Vec<Annotation>,
    /// What the build gives besides the image in the store: type=oci|docker|tar|local|registry|image,dest=PLACE,... or a directory
    #[arg(short, long = "output", value_name = "OUTPUT", value_parser = Output::parse)]
    outputs: Vec<Output>,
    /// Send the image to the registries of its names: --output type=registry
    #[arg(long)]
    push: bool,
    /// Keep the image in the store, which is always done
    #[arg(long)]
    load: bool,
    /// Take results from a cache: type=local,src=DIRECTORY or type=registry,ref=NAME
    #[arg(long, value_name = "CACHE", value_parser = cache::parse_from)]
    cache_from: Vec<CachePlace>,
    /// Write the results as a cache: type=local,dest=DIRECTORY, type=registry,ref=NAME or type=inline; mode=min|max
    #[arg(long, value_name = "CACHE", value_parser = CacheTo::parse)]
    cache_to: Vec<CacheTo>,
    /// Build once more without the cache, and fail naming the files that differ
    #[arg(long)]
    verify: bool,
    /// Most memory of a RUN, swap included: 512m, 2g
    #[arg(short, long, value_name = "SIZE", value_parser = bundle::parse_bytes)]
    memory: Option<u64>,
    /// Most processor time of a RUN, in processors
    #[arg(long, value_name = "NUMBER", value_parser = bundle::parse_cpus)]
    cpus: Option<u32>,
    /// Limit of each process of a RUN
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<Ulimit>,
    /// Size of a RUN's /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = bundle::parse_bytes)]
    shm_size: Option<u64>,
    #[command(flatten)]
    attestation: attestation::Flags,
    /// Where devices for RUN --device are described; may be given several times, the last counts first
    #[arg(long = "cdi-spec-dir", value_name = "DIR", default_values = DEVICE_DIRECTORIES)]
    device_directories: Vec<PathBuf>,
    /// What to do when a RUN fails: end the build, or first open a shell in what it left
    #[arg(long, value_enum, value_name = "end|shell", default_value = "end", hide_possible_values = true)]
    on_failure: OnFailure,
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

/// The graphs, and what is known of each.
type Planned<'a> = Vec<(&'a Graph, Known)>;

/// What the steps are given besides their graph.
type Entrusted = (Store, Credentials, Option<File>, Arc<Interrupt>);

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
            return check::check(&check::Args { recipe: args.recipe }, global);
        }
        "outline" => return outline::outline(&args.recipe, format, global),
        "targets" => return outline::targets(&args.recipe, format, global),
        _ => return Err(Error::new(Kind::Invalid, format!("call {} is not known", args.call))),
    }
    let terminal = args.on_failure.terminal()?;
    let wanted = args.attestation.wanted()?;
    let credentials = credential::read(&args.secrets, &args.agents)?;
    let loaded = args.recipe.load(global, credentials.ssh.get("default"))?;
    let store = Store::open(&global.store_root()?)?;
    let _shared = store.share()?;
    // Pulling needs no namespaces, and a signal may end it at any moment: only the steps are carried out inside.
    let graphs = shown(&args, |sender| plan::plan((&args, &wanted), &loaded, &store, sender))?;
    let known = plan::look((&args, &wanted), (&loaded, &graphs), (&store, &credentials))?;
    // What was built before needs none at all.
    if known.iter().all(Known::is_complete) {
        userns::stay()?;
    } else if let Side::Outer(code) = userns::enter()? {
        return Ok(code);
    }
    let interrupt = Arc::new(Interrupt::default());
    let entrusted = (store.clone(), credentials, terminal, Arc::clone(&interrupt));
    let planned = (graphs.as_slice(), known);
    let finish = |sender: &Sender| finish((&args, &wanted), (&loaded, planned), entrusted, sender);
    shown(&args, |sender| solve::watched(&interrupt, &failure::give_up, || finish(sender)))?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the images, names them and gives them out.
fn finish(
    (args, wanted): (&Args, &Wanted),
    (loaded, (graphs, known)): (&Loaded, (&[Graph], Vec<Known>)),
    entrusted: Entrusted,
    sender: &Sender,
) -> Result<(), Error> {
    let started = args.recipe.says_times().then_some(loaded.began);
    let (env, _place) = plan::env((args, wanted), loaded, entrusted, sender)?;
    let store = env.store.clone();
    let solved = solve(args, graphs.iter().zip(known).collect(), &env)?;
    let asked = Asked { recipe: &args.recipe, loaded, wanted, started };
    let said = graphs.iter().zip(&solved).map(|of_image| attested::said(&asked, &store, of_image));
    let said = said.collect::<Result<Vec<_>, Error>>()?;
    let (images, caches): (Vec<Descriptor>, Vec<_>) =
        solved.into_iter().map(|solved| (solved.image, solved.caches)).unzip();
    let is_index = images.len() > 1 || wanted.is_anything() || is_set(args, "BUILDKIT_MULTI_PLATFORM");
    let built = Built {
        store: &store,
        images: images.into_iter().map(|image| compose::annotated(image, &args.annotations)).collect(),
        said,
        graphs,
        tags: &args.tags,
        index: compose::index_annotations(&args.annotations, is_index)?,
    };
    let top = built.top()?;
    for reference in &args.tags {
        image::tag(&store, reference, &top)?;
    }
    compose::write_files(&built, &top, (args.iidfile.as_deref(), args.metadata_file.as_deref()))?;
    export(args, &store, &caches, sender)?;
    let pushed = args.push.then(|| Output::parse("type=registry")).transpose()?;
    for output in args.outputs.iter().chain(&pushed) {
        deliver(output, &built, sender)?;
    }
    if args.outputs.iter().any(Output::takes_stdout) {
        return Ok(());
    }
    writeln!(std::io::stdout(), "{}", top.digest).map_err(|e| Error::system("write to stdout", e))
}

/// Writes the caches that were asked for, each with the records of its extent for every platform.
fn export(
    args: &Args,
    store: &Store,
    exported: &[Vec<(Extent, Exported)>],
    sender: &Sender,
) -> Result<(), Error> {
    for to in &args.cache_to {
        if let cache::Target::Place(place) = &to.target {
            let mut all = Exported::default();
            let of_extent = exported.iter().flatten().filter(|(extent, _)| *extent == to.extent);
            of_extent.for_each(|(_, one)| all.merge(one.clone()));
            cache::write(store, all, place, sender)?;
        }
    }
    Ok(())
}

fn is_set(args: &Args, name: &str) -> bool {
    let given = args.recipe.build_args.iter().filter_map(|arg| arg.split_once('='));
    given.filter(|(given, _)| *given == name).any(|(_, value)| matches!(value, "1" | "true"))
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

fn solve(args: &Args, planned: Planned<'_>, env: &solve::Env) -> Result<Vec<Solved>, Error> {
    let solved = planned.into_iter().map(|(graph, known)| {
        let solved = solve::solve(graph, env, known)?;
        if args.verify {
            let again = solve::solve(&verify::renewed(graph), env, Known::default())?;
            verify::compare(&env.store, &solved.image, &again.image)?;
        }
        Ok(solved)
    });
    solved.collect()
}
