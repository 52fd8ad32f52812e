//! Parse, call, one error line, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::cli::main(std::env::args_os().collect())
}
