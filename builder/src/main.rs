//! `builder`: parse, call, one error line, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    builder::cli::main()
}
