//! `without CALLS -- COMMAND...`: a command, and all that it starts, on a kernel that seems to lack some system calls.
//!
//! Invariant: the filter answers for exactly the calls that were named, and lets every other one pass.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use crate::sys::filter::{self, Only, Refusal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names with commas between them; `NAME=EPERM` answers with another error than ENOSYS.
    calls: String,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The calls that a container's runtime may have to do without, oldest kernel last.
const CALLS: [(&str, libc::c_long); 18] = [
    // The libc crate has its number for one machine; those from open_tree on are the same on all.
    ("open_tree_attr", libc::SYS_open_tree + 39),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("close_range", libc::SYS_close_range),
    ("faccessat2", libc::SYS_faccessat2),
    ("openat2", libc::SYS_openat2),
    ("clone3", libc::SYS_clone3),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("fsopen", libc::SYS_fsopen),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("statx", libc::SYS_statx),
    ("execveat", libc::SYS_execveat),
    ("memfd_create", libc::SYS_memfd_create),
    ("setns", libc::SYS_setns),
    ("keyctl", libc::SYS_keyctl),
];

/// Becomes the command.
pub(crate) fn become_command(args: &Args) -> Result<ExitCode> {
    let refused = args.calls.split(',').map(call).collect::<Result<Vec<_>>>()?;
    let (program, rest) = args.command.split_first().context("no command was given")?;
    filter::refuse(&refused).context("load the filter")?;
    Err(Command::new(program).args(rest).exec()).with_context(|| format!("start {program}"))
}

/// Before Linux 5.8 `setns` took one namespace and no process.
const OF_PROCESSES: &str = "setns-of-processes";

fn call(word: &str) -> Result<Refusal> {
    let (name, only) = match word.starts_with(OF_PROCESSES) {
        true => (word.replacen(OF_PROCESSES, "setns", 1), Only::SeveralFlags),
        false => (word.to_owned(), Only::Always),
    };
    let (name, errno) = name.split_once('=').unwrap_or((&name, "ENOSYS"));
    let known = CALLS.iter().find(|(known, _)| *known == name);
    let (_, number) =
        known.with_context(|| format!("the call {name} is not one of those that can be taken away"))?;
    let errno = match errno {
        "ENOSYS" => Errno::ENOSYS,
        "EPERM" => Errno::EPERM,
        "EINVAL" => Errno::EINVAL,
        "E2BIG" => Errno::E2BIG,
        other => bail!("the answer {other} is none of ENOSYS, EPERM, EINVAL, E2BIG"),
    };
    Ok(Refusal { number: u32::try_from(*number)?, errno: u16::try_from(errno as i32)?, only })
}
