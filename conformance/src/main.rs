//! `conformance`: proves any OCI runtime, compares runtimes side by side, and is this workspace's development tool.
#![allow(clippy::indexing_slicing, reason = "only JSON values are indexed: an absent key reads as null")]

mod account;
mod as_user;
mod assets;
mod bench;
mod build;
mod builders;
mod bundle;
mod cargo_test;
mod case;
mod cases;
mod chain;
mod compare;
mod compat;
mod demo;
mod differential;
mod engines;
mod image;
mod known;
mod needs;
mod process;
mod proof;
mod report;
mod runc_suite;
mod setup;
mod shims;
mod stage;
mod subject;
mod suite;
mod sys;
mod trial;
mod without;
mod worker;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::case::Case;

#[derive(Parser)]
#[command(name = "conformance", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the cases on one or more runtimes and show them side by side.
    Run(compare::Args),
    /// Measure runtimes, or builders, side by side: time, processor, memory, system calls.
    Bench(bench::Args),
    /// Count the system calls and clones of a command and of all that it starts.
    Count(bench::CountArgs),
    /// Print the order in which the linker should put a runtime's functions, by what a command uses of it.
    Layout(bench::LayoutArgs),
    /// List the cases: name, and the source of the rule.
    List,
    /// Measure the shim with our runtime against containerd's with runc, in turn (root, containerd, runc).
    BenchShim(shims::Args),
    /// Build the same Dockerfiles with another builder and with ours, and compare the images.
    Differential(differential::Args),
    /// Build the workspace, then build an image from an embedded Dockerfile and run it.
    Demo(demo::Args),
    /// Build, run every test and every case; end with passed, failed and not run.
    Proof(proof::Args),
    /// Run runc's own integration tests on a runtime, where they can be had.
    Suite(runc_suite::Args),
    /// Run a command that finds some system calls missing.
    Without(without::Args),
    /// Make the table of what engines do over a runtime from the results of several hosts.
    Table(compat::Args),
    /// Put the finished binaries and what they are tested with into a world-readable folder.
    Stage { dir: PathBuf },
    /// Install and make what the tests need (root on Debian or Ubuntu); otherwise say what is missing.
    Setup,
    /// Carry out one case, or a group that shares an engine; what `run` and `proof` start for each.
    #[command(hide = true)]
    One { job: String },
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            let _written = writeln!(std::io::stderr(), "conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run(args) => return compare::run(&args),
        Verb::Bench(args) => return measure(&args),
        Verb::Count(args) => return bench::count(&args),
        Verb::Layout(args) => return bench::layout(&args),
        Verb::BenchShim(args) => return shims::bench(&args),
        Verb::Differential(args) => return differential::differential(&args),
        Verb::Demo(args) => return demo::demo(&args),
        Verb::Suite(args) => return runc_suite::suite(&args),
        Verb::Without(args) => return without::become_command(&args),
        Verb::Proof(args) => return proof::proof(&args),
        Verb::List => list()?,
        Verb::Table(args) => compat::table(&args)?,
        Verb::Stage { dir } => stage::stage(&dir)?,
        Verb::Setup => setup::prepare(&mut std::io::stdout())?,
        Verb::One { job } => worker::work(serde_json::from_str(&job)?, &mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runtimes, or a builder in their place.
fn measure(args: &bench::Args) -> Result<ExitCode> {
    let Some(builder) = &args.builder else { return bench::bench(args) };
    let (peers, rounds, filter) = (&args.peers, args.rounds.unwrap_or(3), &args.filter);
    let work = args.work.clone().unwrap_or_else(work_root);
    builders::bench(&builders::Wanted { builder, peers, rounds, filter, work: &work })
}

/// Every case there is, by topic.
fn all_cases() -> impl Iterator<Item = &'static Case> {
    cases::ALL.iter().chain(chain::ALL).chain(engines::ALL).copied().flatten()
}

/// The case of that name.
pub(crate) fn find_case(name: &str) -> Option<&'static Case> {
    all_cases().find(|case| case.name == name)
}

fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for case in all_cases() {
        writeln!(out, "{}\t{}", case.name, case.source)?;
    }
    Ok(())
}

/// Cases need a file system that takes device nodes, extended attributes and overlay layers: not a small tmpfs.
pub(crate) fn work_root() -> PathBuf {
    PathBuf::from(if std::path::Path::new("/var/tmp").is_dir() { "/var/tmp" } else { "/tmp" })
}

/// How many cases run at once.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4)
}
