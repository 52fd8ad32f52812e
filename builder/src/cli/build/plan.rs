//! What a build is to do and works with: its graphs, what is known of them beforehand, and the flags as the solver takes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Args, Entrusted, is_set, shown};
use crate::bundle::{DeviceRegistry, Limits};
use crate::cli::annotation::{Annotation, Target};
use crate::cli::attestation::Wanted;
use crate::cli::bases::{self, Pull};
use crate::cli::failure;
use crate::cli::output::{Form, Output};
use crate::cli::recipe::Loaded;
use crate::cli::{cache, check};
use crate::context::Tree;
use crate::error::Error;
use crate::graph::Graph;
use crate::image::Platform;
use crate::progress::{Event, Sender};
use crate::solve::{self, Extent, Known};
use crate::step::{Credentials, Interrupt};
use crate::store::{Store, Workspace};

/// The graph for each platform.
pub(super) fn plan(
    (args, wanted): (&Args, &Wanted),
    loaded: &Loaded,
    store: &Store,
    sender: &Sender,
) -> Result<Vec<Graph>, Error> {
    let pull = if args.pull { Pull::Always } else { Pull::Missing };
    let mut graphs = Vec::new();
    for platform in args.recipe.platforms() {
        let mut inputs = args.recipe.inputs(loaded, platform)?;
        inputs.scanner.clone_from(&wanted.scanner);
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

/// What each graph finds kept, where that may spare the namespaces.
pub(super) fn look(
    (args, wanted): (&Args, &Wanted),
    (loaded, graphs): (&Loaded, &[Graph]),
    (store, credentials): (&Store, &Credentials),
) -> Result<Vec<Known>, Error> {
    // A cache of elsewhere may know more.
    if args.verify || !args.cache_from.is_empty() || wanted.is_anything() || shows_files(&args.outputs) {
        return Ok(graphs.iter().map(|_| Known::default()).collect());
    }
    // Repositories are asked with the agent; secrets are for those who run.
    let agents = Credentials { ssh: credentials.ssh.clone(), ..Credentials::default() };
    let interrupt = Arc::new(Interrupt::default());
    let entrusted = (store.clone(), agents, None, Arc::clone(&interrupt));
    let look = || {
        shown(args, |sender| {
            let (env, _place) = env((args, wanted), loaded, entrusted, sender)?;
            Ok(graphs.iter().map(|graph| solve::look(graph, &env)).collect::<Vec<Known>>())
        })
    };
    let known = match graphs.iter().any(|graph| !graph.addresses().is_empty()) {
        // Whoever is asked there may not answer. Before the display has a thread, which would take the signals else.
        true => solve::watched(&interrupt, &failure::give_up, look)?,
        false => look()?,
    };
    // With namespaces a step that is lost meanwhile can be carried out.
    Ok(match known.iter().all(Known::is_complete) {
        true => known,
        false => known.into_iter().map(Known::unsure).collect(),
    })
}

/// Whether an output shows an image's files, which are mounted for it.
fn shows_files(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output.form, Form::Tar(_) | Form::Local(_)))
}

/// What a build works with; the directory, if there is one, is for its time.
pub(super) fn env(
    (args, wanted): (&Args, &Wanted),
    loaded: &Loaded,
    (store, credentials, terminal, interrupt): Entrusted,
    sender: &Sender,
) -> Result<(solve::Env, Option<Workspace>), Error> {
    let (context, workspace) = match &loaded.context {
        Some(directory) => (Tree::directory(directory, loaded.ignore.clone())?, None),
        None => {
            let workspace = store.workspace()?;
            let empty = workspace.path().join("context");
            std::fs::create_dir(&empty).map_err(|e| Error::system("make an empty context", e))?;
            (Tree::directory(&empty, None)?, Some(workspace))
        }
    };
    let mut named = BTreeMap::new();
    for (name, (_, directory)) in &loaded.contexts {
        if let Some(directory) = directory {
            named.insert(name.clone(), Arc::new(Tree::directory(directory, None)?));
        }
    }
    let env = solve::Env {
        store,
        context: Arc::new(context),
        named,
        credentials,
        terminal,
        interrupt,
        runtime: args.runtime.clone(),
        progress: sender.clone(),
        explain: args.explain,
        compression: args.compression,
        limits: limits(args),
        devices: DeviceRegistry {
            directories: args.device_directories.clone(),
            allowed: args.recipe.allowed_devices(),
        },
        caches: cache::open(&args.cache_from, sender),
        exports: [Extent::Min, Extent::Max].into_iter().filter(|extent| is_exported(args, *extent)).collect(),
        inline_cache: args.cache_to.iter().any(|to| to.target == cache::Target::Inline)
            || is_set(args, "BUILDKIT_INLINE_CACHE"),
        names_sources: wanted.provenance.is_some(),
        annotations: of_manifests(&args.annotations),
    };
    Ok((env, workspace))
}

fn limits(args: &Args) -> Limits {
    Limits {
        memory: args.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        cpus: args.cpus,
        processes: args.ulimits.clone(),
        shm: args.shm_size,
    }
}

fn is_exported(args: &Args, extent: Extent) -> bool {
    args.cache_to.iter().any(|to| to.extent == extent && to.target != cache::Target::Inline)
}

fn of_manifests(annotations: &[Annotation]) -> Vec<(Option<Platform>, String, String)> {
    let chosen = annotations.iter().filter_map(|annotation| match &annotation.target {
        Target::Manifest(platform) => {
            Some((platform.clone(), annotation.name.clone(), annotation.value.clone()))
        }
        _ => None,
    });
    chosen.collect()
}
