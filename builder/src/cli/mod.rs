//! The command line: one file per verb, each with its `Args` and the function that carries it out.
//!
//! Invariant: a verb returns its error; only `main` here prints one, and sets the exit code.

mod address;
mod annotation;
mod attestation;
mod attested;
mod attested_files;
mod bases;
mod build;
mod cache;
mod check;
mod compose;
mod credential;
mod deliver;
mod failure;
mod graph;
mod history;
mod images;
mod inspect;
mod layer_comments;
mod load;
mod login;
mod outline;
mod output;
mod prune;
mod pull;
mod push;
mod recipe;
mod recipe_file;
mod rmi;
mod run;
mod save;
mod showing;
mod stop;
mod table;
mod tag;
mod unpack;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::store;

/// Builds, stores, moves and runs container images with no daemon and no root.
#[derive(Debug, Parser)]
#[command(name = "builder", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// Directory of images, layers and build cache [default: /var/lib/coracle, or ~/.local/share/coracle]
    #[arg(long, global = true, env = "CORACLE_STORE", value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
}

impl Global {
    /// The store's directory: as given, or the usual one of this user.
    pub(crate) fn store_root(&self) -> Result<PathBuf, Error> {
        self.store.as_ref().map_or_else(store::default_root, |root| Ok(root.clone()))
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    Build(Box<build::Args>),
    Check(check::Args),
    Graph(graph::Args),
    History(history::Args),
    Images(images::Args),
    Inspect(inspect::Args),
    Load(load::Args),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Prune(prune::Args),
    Pull(pull::Args),
    Push(push::Args),
    Rmi(rmi::Args),
    Run(Box<run::Args>),
    Save(save::Args),
    Tag(tag::Args),
    Unpack(unpack::Args),
    Stop(stop::StopArgs),
    Rm(stop::RmArgs),
    Ps(stop::PsArgs),
    Logs(stop::LogsArgs),
}

/// Parses the command line of this process and carries it out.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    dispatch(cli.verb, &cli.global).unwrap_or_else(|error| report(&error))
}

fn dispatch(verb: Verb, global: &Global) -> Result<ExitCode, Error> {
    match verb {
        Verb::Build(args) => build::build(*args, global),
        Verb::Check(args) => check::check(&args, global),
        Verb::Graph(args) => graph::graph(&args, global),
        Verb::History(args) => history::history(&args, global),
        Verb::Inspect(args) => inspect::inspect(&args, global),
        Verb::Load(args) => load::load(&args, global),
        Verb::Images(args) => images::images(&args, global),
        Verb::Login(args) => login::login(&args),
        Verb::Logout(args) => login::logout(&args),
        Verb::Prune(args) => prune::prune(&args, global),
        Verb::Pull(args) => pull::pull(&args, global),
        Verb::Push(args) => push::push(&args, global),
        Verb::Rmi(args) => rmi::rmi(&args, global),
        Verb::Run(args) => run::run(&args, global),
        Verb::Save(args) => save::save(&args, global),
        Verb::Unpack(args) => unpack::unpack(&args, global),
        Verb::Tag(args) => tag::tag(&args, global),
        Verb::Stop(args) => stop::stop(&args, global),
        Verb::Rm(args) => stop::remove(&args, global),
        Verb::Ps(args) => stop::list(&args, global),
        Verb::Logs(args) => stop::logs(&args, global),
    }
}

/// One line for people that is no error.
fn note(line: &str) {
    // A closed stderr leaves nobody to tell.
    drop(writeln!(std::io::stderr().lock(), "builder: {line}"));
}

/// One line for the error, the lines of the input below it where there are any.
fn report(error: &Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    // A closed stderr leaves nobody to tell.
    drop(writeln!(stderr, "builder: {error}"));
    if let Some(lines) = error.shown_excerpt() {
        drop(writeln!(stderr, "{lines}"));
    }
    ExitCode::FAILURE
}
