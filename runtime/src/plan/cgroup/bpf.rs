//! The rules of a device list as an eBPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE` (v2 has no files for devices).
//!
//! The program is asked with {access << 16 | type, major, minor} and answers 1 for yes. The last rule that speaks counts. A request
//! for several kinds of access at once is granted when each of them is, be it by several rules.

use super::devices::{Rule, Type};
use super::grants::{ALL, Kind, Major, kind};

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
const JA: u8 = 0x05;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// Kinds of access that are asked for.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const CHAR_DEVICE: i32 = 2;

/// The whole program: the kind, the major and the minor number lead to the kinds of access that are granted, which are worked out
/// here. The kernel follows every branch when it checks a program, so that each comparison that is not made saves more at the
/// container's start than at the opening of a device.
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    let (char, block) = (kind(rules, Type::Char), kind(rules, Type::Block));
    if let (Some(granted), true) = (char.is_uniform(), char == block)
        && matches!(granted, 0 | ALL)
    {
        return answer(i32::from(granted == ALL)).to_vec();
    }
    let mut program = vec![
        load(KIND, 0),
        copy(OPEN, KIND),
        immediate(RSH32, OPEN, 16),
        immediate(AND32, KIND, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    let char = numbers(&char);
    program.push(jump(JNE, KIND, CHAR_DEVICE, distance(char.len())));
    program.extend(char);
    program.extend(numbers(&block));
    program
}

fn numbers(kind: &Kind) -> Vec<Instruction> {
    let mut all = Vec::new();
    for (number, major) in &kind.majors {
        let inside = minors(major);
        all.push(jump(JNE, MAJOR, number.cast_signed(), distance(inside.len())));
        all.extend(inside);
    }
    all.extend(minors(&kind.other));
    all
}

/// Those with the same answer share it.
fn minors(major: &Major) -> Vec<Instruction> {
    let mut bits: Vec<u8> = major.minors.iter().map(|(_, bits)| *bits).collect();
    bits.sort_unstable();
    bits.dedup();
    let mut all = Vec::new();
    for bits in bits {
        let same: Vec<u32> =
            major.minors.iter().filter(|(_, own)| *own == bits).map(|(number, _)| *number).collect();
        let answer = grant(bits);
        for (at, number) in same.iter().enumerate() {
            // To the answer, which follows the comparisons and a jump over it.
            all.push(jump(JEQ, MINOR, number.cast_signed(), distance(same.len() - at)));
        }
        all.push(jump(JA, 0, 0, distance(answer.len())));
        all.extend(answer);
    }
    all.extend(grant(major.other));
    all
}

/// Whether nothing else is asked for.
fn grant(bits: u8) -> Vec<Instruction> {
    match bits {
        0 => answer(0).to_vec(),
        ALL => answer(1).to_vec(),
        bits => {
            let mut all = vec![immediate(AND32, OPEN, i32::from(ALL & !bits)), jump(JEQ, OPEN, 0, 2)];
            all.extend(answer(0));
            all.extend(answer(1));
            all
        }
    }
}

/// The longest program whose jumps all reach.
pub const MOST: usize = i16::MAX.unsigned_abs() as usize;

/// So many instructions on; in a program that is no longer than `MOST` it is never more.
fn distance(count: usize) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
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
    use super::super::grants::definition::{NUMBERS, by_the_rules, lists};
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
                0x05 => at += usize::try_from(one.offset).unwrap(),
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
    fn the_program_answers_as_the_rules_do() {
        for rules in lists() {
            let program = program(&rules);
            for (name, kind) in [(1, Type::Block), (2, Type::Char)] {
                for numbers in NUMBERS {
                    for bits in 1..8 {
                        assert_eq!(
                            run(&program, [bits << 16 | name, numbers.0, numbers.1]) == 1,
                            by_the_rules(&rules, bits, kind, numbers),
                            "{rules:?}: {bits} {kind:?} {numbers:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_default_devices_take_few_comparisons() {
        let program = program(&plan(&[], Need::Required).unwrap().rules);
        let comparisons = program.iter().filter(|one| matches!(one.code, JEQ | JNE)).count();
        assert_eq!((program.len(), comparisons), (60, 18));
    }

    #[test]
    fn without_a_rule_only_the_default_devices_can_be_used() {
        let program = program(&plan(&[], Need::Required).unwrap().rules);
        assert!(allows(&program, "rw", 'c', (1, 3)));
        assert!(allows(&program, "rw", 'c', (136, 17)));
        assert!(allows(&program, "rw", 'c', (10, 200)));
        assert!(!allows(&program, "r", 'c', (10, 229)));
        assert!(allows(&program, "m", 'b', (8, 0)));
        assert!(!allows(&program, "r", 'b', (8, 0)));
        assert!(!allows(&program, "r", 'c', (1, 1)));
    }
}
