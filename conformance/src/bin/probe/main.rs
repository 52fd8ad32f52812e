//! The program inside the container: it shows what it sees as JSON, and does single deeds and says how they ended.
//!
//! `probe DEED [ARG...] [, DEED [ARG...]]...` carries the deeds out in turn. It is static and needs no file but itself, so an
//! image or a root made of nothing else is complete.
//!
//! Invariant: every deed prints exactly one line on standard output (`cat`, `list`, `env` print what they were asked for), so
//! that a case can assert the whole output.

mod contain;
mod deeds;
mod net;
mod reach;
mod show;
mod sys;
mod terminal;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    if words.is_empty() {
        return usage();
    }
    for deed in words.split(|word| word == ",") {
        match deeds::carry_out(deed) {
            Ok(None) => {}
            Ok(Some(code)) => return code,
            Err(text) => {
                // A deed that cannot be understood is a mistake in the case, not a finding.
                let _written = writeln!(std::io::stderr(), "probe: {text}");
                return ExitCode::from(125);
            }
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    let _written =
        writeln!(std::io::stderr(), "usage: probe DEED [ARG...] [, DEED [ARG...]]...\n{}", deeds::LIST);
    ExitCode::from(125)
}
