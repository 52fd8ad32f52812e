//! The rules of a device list as an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE` (v2 has no files for devices).
//!
//! The program is asked with {access << 16 | type, major, minor} and answers 1 for yes. The last rule that speaks counts,
//! hence they are looked through backwards. A request for several kinds of access at once is granted when each of them is:
//! a rule that denies some decides at once, one that allows some takes those off what is still open.

use super::devices::{Rule, Type};

/// One instruction, as the kernel reads it (`struct bpf_insn`, little-endian fields in one number).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    /// Destination in the low four bits, source in the high ones.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOV_REG: u8 = 0xbf;
const MOV: u8 = 0xb7;
const AND32: u8 = 0x54;
const RSH32: u8 = 0x74;
const JNE: u8 = 0x55;
const JEQ: u8 = 0x15;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// Kinds of access that no rule has decided yet.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const BLOCK_DEVICE: i32 = 1;
const CHAR_DEVICE: i32 = 2;

/// The whole program.
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        load(KIND, 0),
        load(OPEN, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        immediate(AND32, KIND, 0xffff),
        immediate(RSH32, OPEN, 16),
    ];
    for rule in rules.iter().rev() {
        let block = block(rule);
        program.extend(block);
        // Nothing is left to say after a rule about everything; the verifier refuses what cannot be reached.
        if is_about_all(rule) {
            return program;
        }
    }
    program.extend(answer(0));
    program
}

fn is_about_all(rule: &Rule) -> bool {
    rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && rule.access.bits() == 7
}

fn block(rule: &Rule) -> Vec<Instruction> {
    if is_about_all(rule) {
        return answer(i32::from(rule.allow)).to_vec();
    }
    let body = body(rule);
    let mut tests: Vec<(u8, i32)> = Vec::new();
    match rule.kind {
        Some(Type::Char) => tests.push((KIND, CHAR_DEVICE)),
        Some(Type::Block) => tests.push((KIND, BLOCK_DEVICE)),
        None => {}
    }
    tests.extend(rule.major.map(|major| (MAJOR, major.cast_signed())));
    tests.extend(rule.minor.map(|minor| (MINOR, minor.cast_signed())));
    let count = tests.len();
    let skip = |at: usize| i16::try_from(count - at - 1 + body.len()).unwrap_or(i16::MAX);
    let tests = tests.iter().enumerate();
    let mut block: Vec<Instruction> =
        tests.map(|(at, (register, value))| jump(JNE, *register, *value, skip(at))).collect();
    block.extend(body);
    block
}

/// What is done once device and number fit.
fn body(rule: &Rule) -> Vec<Instruction> {
    let about = i32::from(rule.access.bits());
    match rule.allow {
        // Anything open that this rule denies: no.
        false => {
            let mut body =
                vec![copy(SCRATCH, OPEN), immediate(AND32, SCRATCH, about), jump(JEQ, SCRATCH, 0, 2)];
            body.extend(answer(0));
            body
        }
        // What it allows is no longer open; with nothing open any more: yes.
        true => {
            let mut body = vec![immediate(AND32, OPEN, 7 & !about), jump(JNE, OPEN, 0, 2)];
            body.extend(answer(1));
            body
        }
    }
}

fn answer(value: i32) -> [Instruction; 2] {
    [immediate(MOV, RESULT, value), immediate(EXIT, 0, 0)]
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: register | CONTEXT << 4, offset, immediate: 0 }
}

fn copy(to: u8, from: u8) -> Instruction {
    Instruction { code: MOV_REG, registers: to | from << 4, offset: 0, immediate: 0 }
}

fn immediate(code: u8, register: u8, value: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate: value }
}

fn jump(code: u8, register: u8, value: i32, offset: i16) -> Instruction {
    Instruction { code, registers: register, offset, immediate: value }
}

impl Instruction {
    /// As the kernel reads it from memory, in this machine's byte order.
    pub fn encode(&self) -> u64 {
        let registers = match cfg!(target_endian = "big") {
            true => self.registers.rotate_left(4),
            false => self.registers,
        };
        let [offset_0, offset_1] = self.offset.to_ne_bytes();
        let [a, b, c, d] = self.immediate.to_ne_bytes();
        u64::from_ne_bytes([self.code, registers, offset_0, offset_1, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::super::devices::{Access, Rule, Type, plan};
    use super::*;
    use crate::plan::Need;

    /// What the kernel does with the instructions that are used here.
    fn run(program: &[Instruction], context: [u32; 3]) -> u64 {
        let mut registers = [0u64; 7];
        let mut at = 0usize;
        loop {
            let one = program[at];
            at += 1;
            let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
            let value = u64::from(one.immediate.cast_unsigned());
            match one.code {
                0x61 => registers[to] = u64::from(context[usize::try_from(one.offset / 4).unwrap()]),
                0xbf => registers[to] = registers[from],
                0xb7 => registers[to] = value,
                0x54 => registers[to] &= value,
                0x74 => registers[to] >>= value,
                0x55 if registers[to] != value => at += usize::try_from(one.offset).unwrap(),
                0x15 if registers[to] == value => at += usize::try_from(one.offset).unwrap(),
                0x55 | 0x15 => {}
                0x95 => return registers[0],
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// Access as letters, `c` or `b`, numbers.
    fn allows(program: &[Instruction], access: &str, kind: char, (major, minor): (u32, u32)) -> bool {
        let bit = |letter: char| match letter {
            'm' => 1,
            'r' => 2,
            _ => 4,
        };
        let access: u32 = access.chars().map(bit).sum();
        let kind = if kind == 'b' { 1 } else { 2 };
        run(program, [access << 16 | kind, major, minor]) == 1
    }

    fn rule(allow: bool, kind: Option<Type>, numbers: Option<(u32, u32)>, access: &str) -> Rule {
        let has = |letter| access.contains(letter);
        let access = Access { read: has('r'), write: has('w'), mknod: has('m') };
        Rule { allow, kind, major: numbers.map(|n| n.0), minor: numbers.map(|n| n.1), access }
    }

    #[test]
    fn the_last_rule_that_speaks_counts() {
        let char = Some(Type::Char);
        let rules = [
            rule(false, None, None, "rwm"),
            rule(true, char, Some((10, 229)), "rw"),
            rule(true, char, Some((1, 1)), "rwm"),
            rule(false, char, Some((1, 1)), "w"),
            rule(true, Some(Type::Block), Some((8, 0)), "r"),
            rule(true, Some(Type::Block), Some((8, 0)), "w"),
        ];
        let program = program(&rules);
        let known = [
            ("r", 'c', 10, 229, true),
            ("rw", 'c', 10, 229, true),
            ("rwm", 'c', 10, 229, false),
            ("r", 'c', 10, 228, false),
            ("r", 'b', 10, 229, false),
            ("r", 'c', 1, 1, true),
            ("rm", 'c', 1, 1, true),
            ("w", 'c', 1, 1, false),
            ("rw", 'c', 1, 1, false),
            // Granted by two rules together.
            ("rw", 'b', 8, 0, true),
            ("m", 'b', 8, 0, false),
        ];
        for (access, kind, major, minor, answer) in known {
            assert_eq!(
                allows(&program, access, kind, (major, minor)),
                answer,
                "{access} {kind} {major}:{minor}"
            );
        }
    }

    #[test]
    fn without_a_rule_only_the_default_devices_can_be_used() {
        let program = program(&plan(&[], Need::Required).unwrap().rules);
        assert!(allows(&program, "rw", 'c', (1, 3)));
        assert!(allows(&program, "rw", 'c', (136, 17)));
        assert!(allows(&program, "m", 'b', (8, 0)));
        assert!(!allows(&program, "r", 'b', (8, 0)));
        assert!(!allows(&program, "r", 'c', (1, 1)));
    }
}
