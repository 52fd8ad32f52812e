//! `conformance count -- COMMAND...`: what the budgets are checked with.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use serde_json::json;

use crate::sys::trace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The program, by its path.
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs it under ptrace; one line of JSON after whatever it says itself.
pub(crate) fn count(args: &Args) -> Result<ExitCode> {
    let counts = trace::run(Command::new(&args.program).args(&args.words)).context("trace the command")?;
    let trace::Counts { calls, own, clones, peak, code } = counts;
    let line = json!({"calls": calls, "own": own, "clones": clones, "peak_kib": peak, "code": code});
    writeln!(std::io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}
