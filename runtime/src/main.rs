//! Parse, call, one error line, exit code.

#![no_main]

runtime::entry!(runtime::cli::main);
