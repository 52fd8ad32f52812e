//! Comparisons of arguments, by seccompiler: 64-bit values on a machine with 32-bit words are easy to get wrong.

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};
use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::Instruction;
use super::arch::Width;
use crate::error::{Error, Kind};

/// Code that goes on with the next instruction where all conditions hold, and skips that one where they do not.
pub(super) fn test(args: &[LinuxSeccompArg], width: Width) -> Result<Vec<Instruction>, Error> {
    if cfg!(target_endian = "big") {
        let text = "linux.seccomp: conditions on arguments are not supported on big-endian machines";
        return Err(Error::new(Kind::Unsupported, text));
    }
    let conditions = args.iter().map(|arg| condition(arg, width)).collect::<Result<Vec<_>, _>>();
    let rule = conditions.and_then(SeccompRule::new);
    let rule =
        rule.map_err(|source| Error::new(Kind::Invalid, format!("config.json: linux.seccomp: {source}")))?;
    let program = BpfProgram::from(rule);
    Ok(program.iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect())
}

fn condition(arg: &LinuxSeccompArg, width: Width) -> Result<SeccompCondition, seccompiler::BackendError> {
    let length = match width {
        Width::Bits32 => SeccompCmpArgLen::Dword,
        Width::Bits64 => SeccompCmpArgLen::Qword,
    };
    let (operator, value) = match arg.op() {
        Operator::ScmpCmpNe => (SeccompCmpOp::Ne, arg.value()),
        Operator::ScmpCmpLt => (SeccompCmpOp::Lt, arg.value()),
        Operator::ScmpCmpLe => (SeccompCmpOp::Le, arg.value()),
        Operator::ScmpCmpEq => (SeccompCmpOp::Eq, arg.value()),
        Operator::ScmpCmpGe => (SeccompCmpOp::Ge, arg.value()),
        Operator::ScmpCmpGt => (SeccompCmpOp::Gt, arg.value()),
        // The first value is the mask, the second what has to be left.
        Operator::ScmpCmpMaskedEq => (SeccompCmpOp::MaskedEq(arg.value()), arg.value_two().unwrap_or(0)),
    };
    SeccompCondition::new(u8::try_from(arg.index()).unwrap_or(u8::MAX), length, operator, value)
}
