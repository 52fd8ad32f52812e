//! `containerd-shim-coracle-v2`: containerd's runtime-v2 task service over any runtime with runc's command line.
//!
//! The rooms, upper ones naming lower ones only (`tests/layering.rs` holds the table): `bootstrap` is what containerd runs,
//! `task` is what stays, and the rest are its parts.

mod bootstrap;
mod cgroup;
mod cli;
mod error;
mod events;
mod log;
mod mounts;
mod oom;
mod options;
mod process;
mod reap;
mod rpc;
mod runtime;
mod source;
mod spec;
mod stdio;
mod sys;
mod task;

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::bootstrap::{Environment, Role};
use crate::cli::{Action, Flags};
use crate::error::{Doing, Error};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "containerd-shim-coracle-v2: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, action) = cli::parse(&arguments)?;
    match action {
        Action::Version => {
            print(format!("containerd-shim-coracle-v2: {}\n", env!("CARGO_PKG_VERSION")).as_bytes())
        }
        Action::Info => print(&bootstrap::info(&standard_input()?)?),
        Action::Delete => print(&bootstrap::delete(&flags)?),
        Action::Start => start(&flags),
    }
}

fn start(flags: &Flags) -> Result<(), Error> {
    let environment = Environment {
        ttrpc_address: std::env::var("TTRPC_ADDRESS").ok(),
        max_shim_version: std::env::var("MAX_SHIM_VERSION").ok(),
        sched_core: std::env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()),
    };
    match bootstrap::start(flags, &environment, &standard_input()?)? {
        Role::Messenger(answer) => print(&answer),
        Role::Server(setup) => {
            sys::heap::stay_small();
            let socket = setup.socket.clone();
            task::serve(setup)?;
            // At its end, when nobody waits for it any more.
            bootstrap::sweep(&socket)
        }
    }
}

fn standard_input() -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).doing(|| "read standard input".into())?;
    Ok(bytes)
}

fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).doing(|| "write to standard output".into())
}
