//! `builder graph`: the operations of a build, without doing them.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::recipe::Recipe;
use crate::cli::{Global, bases};
use crate::error::Error;
use crate::graph;
use crate::progress;
use crate::store::Store;

/// Prints the graph of a build: every step, what it stands on, and the image's config
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    recipe: Recipe,
}

/// Base images that are not in the store are pulled, as a build would.
pub(crate) fn graph(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let loaded = args.recipe.load(global, None)?;
    let inputs = args.recipe.inputs(&loaded, args.recipe.platform()?)?;
    let store = Store::open(&global.store_root()?)?;
    let (sender, display) = progress::start(progress::Mode::Auto)?;
    let made = bases::lower(
        &loaded,
        inputs,
        &bases::Source { store: &store, pull: bases::Pull::Missing, sender: &sender },
    );
    drop(sender);
    display.finish();
    let (graph, _) = made?;
    std::io::stdout()
        .write_all(graph::show(&graph).as_bytes())
        .map_err(|e| Error::system("write to stdout", e))?;
    Ok(ExitCode::SUCCESS)
}
