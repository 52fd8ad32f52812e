//! The seccomp profile as a program for the kernel: one block for each architecture, in it a balanced tree over the numbers of
//! system calls, at its leaves an answer or comparisons of arguments.
//!
//! A call that is newer than every call that the profile names gets ENOSYS instead of the default answer: programs then fall back to
//! what the author of the profile knew, where a refusal would end them (runc's rule).
//!
//! Invariant: every path through a program ends in an answer, and a call of an architecture that is not listed never passes.

mod arch;
mod compare;
mod rules;
mod tables;
mod tree;

use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag};

use super::text::invalid;
use crate::error::Error;
use arch::Abi;
use rules::Rules;

/// One instruction of classic BPF: code, jump if true, jump if false, operand (linux/filter.h).
pub type Instruction = (u16, u8, u8, u32);

/// A filter, ready to load.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`; with a listener, `NEW_LISTENER` is among them.
    pub flags: u64,
    pub listener: Option<Listener>,
}

/// Who decides about calls with the action NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub socket: PathBuf,
    pub metadata: String,
    pub handover: Handover,
}

/// How the listener gets from init to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// By sendmsg(2), which asks for no right.
    Sent,
    /// By pidfd_getfd(2): the profile would have init wait in sendmsg for an agent that has no listener yet.
    Taken,
}

/// The text of a plan shows its size, and the tests its behaviour.
impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("instructions", &self.instructions.len())
            .field("flags", &self.flags)
            .field("listener", &self.listener)
            .finish()
    }
}

pub(in crate::plan) const LOAD: u16 = 0x20;
pub(in crate::plan) const JUMP: u16 = 0x05;
pub(in crate::plan) const IF_EQUAL: u16 = 0x15;
pub(in crate::plan) const IF_AT_LEAST: u16 = 0x35;
pub(in crate::plan) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const KILL_THREAD: u32 = 0;
const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS.cast_unsigned();
/// The longest program that the kernel takes (BPF_MAXINSNS).
const LONGEST: usize = 4096;

/// None where no profile is given.
pub fn plan(asked: Option<&LinuxSeccomp>) -> Result<Option<Program>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let rules = rules::plan(asked)?;
    let abis = arch::plan(asked.architectures().as_deref().unwrap_or_default());
    let instructions = program(&rules, &abis)?;
    if instructions.len() > LONGEST {
        return Err(invalid(
            "linux.seccomp",
            format!("{} instructions; the kernel takes {LONGEST}", instructions.len()),
        ));
    }
    let listener = listener(asked, &rules)?;
    let flags = match listener {
        Some(_) => flags(asked) | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        // Nobody is waited for, and the kernel refuses the flag.
        None => flags(asked) & !WAIT_KILLABLE_RECV,
    };
    Ok(Some(Program { instructions, flags, listener }))
}

/// Blocks of architectures, each skipped by the others; a call of one that is not listed ends its thread.
fn program(rules: &Rules<'_>, abis: &[Abi]) -> Result<Vec<Instruction>, Error> {
    let mut program = vec![(LOAD, 0, 0, ARCHITECTURE)];
    let mut done: Vec<u32> = Vec::new();
    for abi in abis {
        if done.contains(&abi.audit) {
            continue;
        }
        done.push(abi.audit);
        let same: Vec<Abi> = abis.iter().filter(|other| other.audit == abi.audit).copied().collect();
        let mut block = vec![(LOAD, 0, 0, NUMBER)];
        block.extend(tree::block(rules, &same)?);
        program.push((IF_EQUAL, 1, 0, abi.audit));
        program.push((JUMP, 0, 0, u32::try_from(block.len()).unwrap_or(u32::MAX)));
        program.extend(block);
    }
    program.push((RETURN, 0, 0, KILL_THREAD));
    Ok(program)
}

fn listener(asked: &LinuxSeccomp, rules: &Rules<'_>) -> Result<Option<Listener>, Error> {
    let path = asked.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
    match (rules.notifies(), path) {
        (false, _) => Ok(None),
        (true, Some(socket)) => {
            let metadata = asked.listener_metadata().clone().unwrap_or_default();
            let handover = match rules.notifies_of("sendmsg") {
                true => Handover::Taken,
                false => Handover::Sent,
            };
            Ok(Some(Listener { socket, metadata, handover }))
        }
        (true, None) => Err(invalid("linux.seccomp.listenerPath", "is missing, and SCMP_ACT_NOTIFY is used")),
    }
}

/// Absent is not the same as empty: without a word the mitigation against speculative stores stays as the system has it.
fn flags(asked: &LinuxSeccomp) -> u64 {
    let Some(flags) = asked.flags() else { return libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW };
    flags.iter().fold(0, |sum, flag| {
        sum | match flag {
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv => WAIT_KILLABLE_RECV,
            // Init has one thread: all are in step already.
            Flag::SeccompFilterFlagTsync => 0,
        }
    })
}

/// Linux 5.19.
const WAIT_KILLABLE_RECV: u64 = 1 << 5;

/// A profile whose default is to let through has no author who forgot something; a tracer decides for itself, of newer calls too.
fn is_permissive(action: Action) -> bool {
    matches!(action, Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace)
}

/// The flags that a profile may ask for.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// The architectures that a profile may list, sorted.
pub fn architectures() -> Vec<String> {
    let mut names: Vec<String> =
        arch::names().map(|name| format!("SCMP_ARCH_{}", name.to_ascii_uppercase())).collect();
    names.sort();
    names
}
