//! `doctor`: what this host and this user can and cannot do.

use std::process::ExitCode;

use clap::Parser;

use super::{Global, print};
use crate::error::Error;
use crate::host::doctor::{Finding, State, examine};
use crate::host::facts;
use crate::plan::facts::Interest;

/// tell what this host and this user can and cannot do, and how to mend it
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// for programs
    #[arg(long)]
    json: bool,
}

/// Fails only where no container can run.
pub(super) fn doctor(args: &Args, _: &Global) -> Result<ExitCode, Error> {
    let findings = examine(&facts::measure(Interest::ALL)?);
    match args.json {
        true => {
            let text = serde_json::to_string_pretty(&findings)
                .map_err(|source| Error::system("encode the findings", std::io::Error::from(source)))?;
            print(&format!("{text}\n"));
        }
        false => print(&findings.iter().map(line).collect::<String>()),
    }
    match findings.iter().any(|finding| finding.state == State::Missing) {
        true => Ok(ExitCode::FAILURE),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn line(finding: &Finding) -> String {
    let state = match finding.state {
        State::Good => "good",
        State::Limited => "limited",
        State::Missing => "missing",
    };
    let mend = finding.mend.as_ref().map(|mend| format!("\n{:28}mend: {mend}", "")).unwrap_or_default();
    format!("{:<9} {:<17} {}{mend}\n", state, finding.what, finding.text)
}
