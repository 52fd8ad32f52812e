//! `run`: create and start, and wait for the end.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use super::create::{Born, Common, Mode, bear, keep_from_children, tell};
use super::{Global, notify};
use crate::error::Error;
use crate::host::create::Start;
use crate::host::remove::Others;
use crate::host::{foreground, hooks, remove, seal, undo};
use crate::state::Entry;
use crate::sys::pidfd;
use crate::wire::{FromInit, Heard};

/// create and run a container
#[derive(Parser, Debug)]
pub(super) struct Args {
    /// detach from the container's process
    #[arg(short, long)]
    detach: bool,
    /// do not delete the container after it exits
    #[arg(long)]
    keep: bool,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    no_subreaper: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    seal::protect()?;
    keep_from_children()?;
    match args.detach {
        true => {
            let mut born = bear(&args.common, Start::Now, Mode::Detached, global)?;
            match begin(args, &mut born, global)? {
                Begun::Running => {
                    notify::after_run(&born, global);
                    Ok(ExitCode::SUCCESS)
                }
                Begun::Refused(error) => refuse(error, global),
            }
        }
        false => foreground(args, global),
    }
}

fn foreground(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    // Before the clone: a signal that comes in between is not lost.
    let blocked = foreground::block()?;
    if !args.no_subreaper {
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|errno| Error::system("become the subreaper", errno))?;
    }
    let mut born = bear(&args.common, Start::Now, Mode::Foreground, global)?;
    if let Begun::Refused(error) = begin(args, &mut born, global)? {
        return refuse(error, global);
    }
    // `state`, `exec` and `kill` must be able to come in.
    born.entry.unlock();
    let attended = foreground::Attended { terminal: born.alive.terminal.take(), relay: born.relay.take() };
    let exit = foreground::wait(&born.alive.init, &attended, &blocked);
    if !args.keep && is_ours_to_remove(&born.entry)? {
        match exit {
            Ok(_) => remove::ended(&born.entry, &born.record, Others::Left)?,
            Err(_) => remove::container(&born.entry, &born.record, Others::Left)?,
        }
        drop(hooks::run(&born.plan.hooks.poststop, "poststop", "stopped", &born.record));
    }
    // The process ends here: nothing has to be freed and closed piece by piece.
    std::mem::forget(born);
    Ok(ExitCode::from(u8::try_from(exit?.code()).unwrap_or(u8::MAX)))
}

/// Locked for that; unless `delete --force` was faster, and the name, and the cgroup of that name, may be another container's.
pub(super) fn is_ours_to_remove(entry: &Entry) -> Result<bool, Error> {
    entry.lock()?;
    Ok(entry.is_there())
}

/// How far it came.
enum Begun {
    Running,
    /// execve itself failed.
    Refused(Error),
}

/// Everything was there and right, and yet the program cannot be executed: to its caller that is the program's own failure, said as
/// a shell says it, unless there is a log to be read by another program.
fn refuse(error: Error, global: &Global) -> Result<ExitCode, Error> {
    if global.log.file.is_some() {
        return Err(error);
    }
    // With standard error gone there is nobody left to tell.
    drop(std::io::stderr().write_all(format!("{error}\n").as_bytes()));
    Ok(ExitCode::FAILURE)
}

/// Lets init go on to execve, and runs the hooks for that moment. When anything fails, nothing is left.
fn begin(args: &Args, born: &mut Born, global: &Global) -> Result<Begun, Error> {
    let begun = match start(born, global) {
        Ok(Begun::Running) => tell(&args.common, &born.alive)
            .and_then(|()| hooks::run(&born.plan.hooks.poststart, "poststart", "running", &born.record))
            .map(|()| Begun::Running),
        other => other,
    };
    if !matches!(begun, Ok(Begun::Running)) {
        undo::end(&born.alive.init);
        remove::container(&born.entry, &born.record, Others::Left)?;
    }
    begun
}

fn start(born: &Born, global: &Global) -> Result<Begun, Error> {
    let mut heard = born.alive.wire.go()?;
    loop {
        match born.alive.wire.receive()? {
            // Execve has closed it, or something has ended init before it came so far.
            None if heard == Heard::Never => return Err(undo::ended_early(&born.alive.init)),
            None => return Ok(Begun::Running),
            Some(FromInit::Unheard) => heard = Heard::Never,
            Some(FromInit::Failed(error)) if error.doing().starts_with("exec ") => {
                return Ok(Begun::Refused(error));
            }
            Some(FromInit::Failed(error)) => return Err(error),
            Some(FromInit::Warning(text)) => global.log.warn(&text),
            Some(_) => {
                let init = &born.alive.init;
                drop(pidfd::signal_child(&init.pidfd, init.pid, libc::SIGKILL));
            }
        }
    }
}
