//! The block of one architecture: ranges of numbers with the same answer, found by halving.

use super::arch::{Abi, PRIVATE, X32};
use super::rules::{Rule, Rules};
use super::{ENOSYS, IF_AT_LEAST, Instruction, JUMP, KILL_THREAD, RETURN, compare};
use crate::error::Error;

/// From this number on, up to the next range, this code.
struct Range {
    first: u32,
    code: Code,
}

/// What nearly all ranges have is an answer; a list of its own for each of them was half the time that a profile takes.
#[derive(PartialEq, Eq)]
enum Code {
    Answer(u32),
    Tests(Vec<Instruction>),
}

/// Expects the number in the accumulator; every path ends in an answer.
pub(super) fn block(rules: &Rules<'_>, abis: &[Abi]) -> Result<Vec<Instruction>, Error> {
    let mut ranges = Vec::new();
    let own: Vec<&Abi> = abis.iter().filter(|abi| abi.bit == 0).collect();
    for abi in own {
        add_ranges(rules, abi, &mut ranges)?;
    }
    let is_x86_64 = abis.iter().any(|abi| abi.name == "x86_64");
    match abis.iter().find(|abi| abi.bit == X32) {
        Some(abi) => {
            // Listed alone it still shares its architecture's block.
            if ranges.is_empty() {
                add(&mut ranges, 0, Code::Answer(KILL_THREAD));
            }
            add_ranges(rules, abi, &mut ranges)?;
        }
        None if is_x86_64 => add(&mut ranges, X32, Code::Answer(KILL_THREAD)),
        None => {}
    }
    let mut block = Backwards { code: Vec::with_capacity(2 * ranges.len()), answers: Vec::new() };
    // What was put there last is where the search begins.
    block.search(&ranges);
    block.code.reverse();
    Ok(block.code)
}

fn add_ranges(rules: &Rules<'_>, abi: &Abi, ranges: &mut Vec<Range>) -> Result<(), Error> {
    let mut next = abi.bit;
    let mut newest = None;
    for (number, names) in abi.calls() {
        if number > next {
            add(ranges, next, Code::Answer(rules.default));
        }
        let said = said_of(rules, names);
        match only_answer(rules, said) {
            Some(value) => add(ranges, number, Code::Answer(value)),
            None => add(ranges, number, Code::Tests(tests(rules, said, abi)?)),
        }
        next = number + 1;
        if !said.is_empty() && number & !abi.bit < PRIVATE {
            newest = Some(number);
        }
    }
    add(ranges, next, Code::Answer(rules.default));
    if let (false, Some(newest)) = (rules.permissive, newest) {
        end_at(ranges, newest + 1);
    }
    Ok(())
}

/// By the first of a call's names of which anything is said.
fn said_of<'r>(rules: &'r Rules<'_>, names: &str) -> &'r [Rule] {
    match rules.of(names) {
        [] if names.contains('/') => {
            names.split('/').map(|name| rules.of(name)).find(|said| !said.is_empty()).unwrap_or_default()
        }
        said => said,
    }
}

/// Everything from here on is newer than the profile.
fn end_at(ranges: &mut Vec<Range>, first: u32) {
    let keep = |range: &Range| range.first < first || range.first >= PRIVATE && range.first & X32 == 0;
    ranges.retain(keep);
    let at = ranges.iter().position(|range| range.first > first).unwrap_or(ranges.len());
    ranges.insert(at, Range { first, code: Code::Answer(ENOSYS) });
}

fn add(ranges: &mut Vec<Range>, first: u32, code: Code) {
    match ranges.last() {
        Some(last) if last.code == code => {}
        _ => ranges.push(Range { first, code }),
    }
}

fn answer(value: u32) -> Instruction {
    (RETURN, 0, 0, value)
}

/// What says something else than the default: a rule that repeats that says nothing, as with runc, not even about a special case.
fn telling<'r>(rules: &Rules<'_>, said: &'r [Rule]) -> impl Iterator<Item = &'r Rule> + Clone {
    let default = rules.default;
    said.iter().filter(move |rule| rule.answer != default)
}

/// Of a call that is not asked about its arguments.
fn only_answer(rules: &Rules<'_>, said: &[Rule]) -> Option<u32> {
    let mut telling = telling(rules, said);
    let Some(first) = telling.next() else { return Some(rules.default) };
    (first.args.is_empty() && telling.all(|rule| rule.args.is_empty())).then_some(first.answer)
}

/// Rules with conditions first, then the one without: what is said of a special case counts more than what is said in general.
fn tests(rules: &Rules<'_>, said: &[Rule], abi: &Abi) -> Result<Vec<Instruction>, Error> {
    let mut code = Vec::new();
    let telling = telling(rules, said);
    for rule in telling.clone().filter(|rule| !rule.args.is_empty()) {
        code.extend(compare::test(&rule.args, abi.width)?);
        code.push(answer(rule.answer));
    }
    let general = telling.clone().find(|rule| rule.args.is_empty());
    code.push(answer(general.map_or(rules.default, |rule| rule.answer)));
    Ok(code)
}

/// A block that grows from its end, since jumps lead forwards only: whatever is jumped to is there already.
struct Backwards {
    /// The last instruction first.
    code: Vec<Instruction>,
    /// Answers, and where each was given last.
    answers: Vec<(u32, usize)>,
}

impl Backwards {
    /// Halves the list until one range is left; gives where to go on for it.
    fn search(&mut self, ranges: &[Range]) -> usize {
        let (low, high) = match ranges {
            [] => return self.answer(KILL_THREAD),
            [Range { code: Code::Answer(value), .. }] => return self.answer(*value),
            [Range { code: Code::Tests(tests), .. }] => {
                self.code.extend(tests.iter().rev());
                return self.code.len() - 1;
            }
            many => many.split_at(many.len() / 2),
        };
        let first = high.first().map_or(0, |range| range.first);
        let (high, low) = (self.search(high), self.search(low));
        let (high, low) = (self.reach(high, NEAR - 1), self.reach(low, NEAR));
        let (jump, fall) = (self.distance(high), self.distance(low));
        self.push((IF_AT_LEAST, short(jump), short(fall), first))
    }

    /// One for many: the kernel's time for a filter goes by its length.
    fn answer(&mut self, value: u32) -> usize {
        let near = self.code.len().saturating_sub(SHARED);
        match self.answers.iter_mut().find(|(known, _)| *known == value) {
            Some((_, at)) if *at >= near => return *at,
            Some((_, at)) => *at = self.code.len(),
            None => self.answers.push((value, self.code.len())),
        }
        self.push(answer(value))
    }

    /// The place, or that of a plain jump to it.
    fn reach(&mut self, place: usize, near: usize) -> usize {
        match self.distance(place) {
            distance if distance <= near => place,
            distance => self.push((JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX))),
        }
    }

    /// From an instruction that comes before all that are there; counted from the one after it.
    fn distance(&self, place: usize) -> usize {
        self.code.len() - 1 - place
    }

    fn push(&mut self, instruction: Instruction) -> usize {
        self.code.push(instruction);
        self.code.len() - 1
    }
}

/// Conditional jumps reach as far.
const NEAR: usize = 255;
/// Who shares an answer at this distance can still jump to it when his neighbours are there.
const SHARED: usize = 200;

fn short(distance: usize) -> u8 {
    u8::try_from(distance).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Instruction, plan};
    use oci_spec::runtime::LinuxSeccomp;

    /// What the kernel's interpreter does with the instructions that are used here.
    fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut words = vec![number, arch, 0, 0];
        let half = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap();
        words.extend(args.iter().flat_map(|arg| [half(*arg), half(arg >> 32)]));
        let (mut at, mut value) = (0usize, 0u32);
        loop {
            let (code, jt, jf, k) = program[at];
            at += 1;
            let jump = |truth: bool| usize::from(if truth { jt } else { jf });
            match code {
                0x20 => value = words[k as usize / 4],
                0x54 => value &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(value == k),
                0x25 => at += jump(value > k),
                0x35 => at += jump(value >= k),
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn program(profile: serde_json::Value) -> Vec<Instruction> {
        let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
        plan(Some(&profile)).unwrap().unwrap().instructions
    }

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    const X86_64: u32 = 0xc000_003e;
    const X86: u32 = 0x4000_0003;

    #[test]
    fn a_rule_that_repeats_the_default_says_nothing() {
        let of = |default: &str, syscalls: serde_json::Value, args: [u64; 6]| {
            let profile = serde_json::json!({"defaultAction": default, "syscalls": syscalls});
            run(&program(profile), X86_64, 41, args) // socket
        };
        let rule = |action: &str, args: serde_json::Value| serde_json::json!({"names": ["socket"], "action": action, "args": args});
        let arg = |index, value| serde_json::json!([{"index": index, "value": value, "op": "SCMP_CMP_EQ"}]);
        let (allow, errno, none) = ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", serde_json::json!([]));
        let both = serde_json::json!([rule(errno, none.clone()), rule(allow, none.clone())]);
        assert_eq!(of(errno, both, [0; 6]), ALLOW);
        let special = serde_json::json!([rule(allow, arg(0, 1)), rule(errno, arg(1, 2))]);
        assert_eq!(of(allow, special, [1, 2, 0, 0, 0, 0]), EPERM);
        let general = serde_json::json!([rule(errno, none), rule(allow, arg(0, 1))]);
        assert_eq!(of(allow, general, [1, 0, 0, 0, 0, 0]), EPERM);
    }

    #[test]
    fn a_tracer_decides_about_newer_calls_too() {
        let program = program(serde_json::json!({
            "defaultAction": "SCMP_ACT_TRACE",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
        }));
        assert_eq!(run(&program, X86_64, 436, [0; 6]), 0x7ff0_0001);
    }

    #[test]
    fn each_call_of_each_architecture_gets_its_answer() {
        let program = program(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                { "names": ["read", "write", "exit", "clone3", "no_such_call"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77 },
                { "names": ["mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" },
            ],
        }));
        let none = [0; 6];
        let x32 = 0x4000_0000;
        let known = [
            (X86_64, 0, ALLOW),             // read
            (X86_64, 2, EPERM),             // open
            (X86_64, 60, ALLOW),            // exit
            (X86_64, 83, 0x0005_0000 | 77), // mkdir
            (X86_64, 258, 0x8000_0000),     // mkdirat
            (X86_64, 435, ALLOW),           // clone3
            (X86_64, 436, ENOSYS),          // newer than all that are named
            (X86_64, u32::MAX, ENOSYS),
            (X86_64, x32, ALLOW), // read
            (X86_64, x32 | 436, ENOSYS),
            (X86, 3, ALLOW), // read
            (X86, 0, EPERM), // restart_syscall
            (X86, 1, ALLOW), // exit
            (X86, 436, ENOSYS),
            (0xc000_00b7, 63, 0), // read on another machine
        ];
        for (arch, number, answer) in known {
            assert_eq!(run(&program, arch, number, none), answer, "{arch:#x} {number}");
        }
    }

    fn native_calls() -> (u32, Vec<(u32, &'static str)>) {
        let native = super::super::arch::plan(&[])[0];
        let first = |(number, names): (u32, &'static str)| (number, names.split('/').next().unwrap());
        (native.audit, native.calls().map(first).collect())
    }

    #[test]
    fn a_block_longer_than_a_jump_gives_each_call_its_answer() {
        let (audit, calls) = native_calls();
        let errno = |at: usize| u32::try_from(at % 100 + 2).unwrap();
        let rule = |(at, (_, name)): (usize, &(u32, &str))| match at % 3 {
            0 => serde_json::json!({ "names": [name], "action": "SCMP_ACT_ALLOW" }),
            1 => serde_json::json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno(at) }),
            _ => serde_json::json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno(at),
                "args": [{ "index": 0, "value": 7, "op": "SCMP_CMP_EQ" }] }),
        };
        let rules: Vec<_> = calls.iter().enumerate().map(rule).collect();
        let program = program(serde_json::json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules }));
        assert!(program.len() > 3 * 255, "{}", program.len());
        for (at, (number, name)) in calls.iter().enumerate() {
            for argument in [7, 8] {
                let expected = match (at % 3, argument) {
                    (0, _) => ALLOW,
                    (1, _) | (_, 7) => 0x0005_0000 | errno(at),
                    _ => EPERM,
                };
                let given = run(&program, audit, *number, [argument, 0, 0, 0, 0, 0]);
                assert_eq!(given, expected, "{name} {argument}");
            }
        }
    }

    #[test]
    fn an_answer_is_written_once_for_many_calls() {
        let (audit, calls) = native_calls();
        let allowed: Vec<&str> = calls.iter().step_by(2).map(|(_, name)| *name).collect();
        let program = program(serde_json::json!({ "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": allowed, "action": "SCMP_ACT_ALLOW" }] }));
        assert!(program.len() < calls.len() + 40, "{} for {} calls", program.len(), calls.len());
        for (at, (number, name)) in calls.iter().enumerate() {
            let expected = if at % 2 == 0 { ALLOW } else { EPERM };
            assert_eq!(run(&program, audit, *number, [0; 6]), expected, "{name}");
        }
    }

    #[test]
    fn without_x32_in_the_profile_its_calls_end_the_thread() {
        let allow = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW" });
        let program = program(allow);
        assert_eq!(run(&program, X86_64, 0x4000_0000, [0; 6]), 0);
        assert_eq!(run(&program, X86_64, 999, [0; 6]), ALLOW);
        assert_eq!(run(&program, X86, 1, [0; 6]), 0);
    }

    #[test]
    fn arguments_are_compared_as_64_bits() {
        let rule = |op: &str, value: u64, two: u64| {
            program(serde_json::json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{
                    "names": ["getpid"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{ "index": 1, "value": value, "valueTwo": two, "op": op }],
                }],
            }))
        };
        const BIG: u64 = 0x1_0000_0005;
        type Row = (&'static str, u64, u64, &'static [u64], &'static [u64]);
        let table: [Row; 7] = [
            ("SCMP_CMP_EQ", BIG, 0, &[BIG], &[5, 0x1_0000_0000, BIG + 1]),
            ("SCMP_CMP_NE", BIG, 0, &[5, 0x2_0000_0005], &[BIG]),
            ("SCMP_CMP_LT", BIG, 0, &[0, 6, BIG - 1], &[BIG, BIG + 1, u64::MAX]),
            ("SCMP_CMP_LE", BIG, 0, &[6, BIG], &[BIG + 1, 0x2_0000_0000]),
            ("SCMP_CMP_GT", BIG, 0, &[BIG + 1, 0x2_0000_0000], &[6, BIG]),
            ("SCMP_CMP_GE", BIG, 0, &[BIG, 0x2_0000_0000], &[6, BIG - 1]),
            ("SCMP_CMP_MASKED_EQ", 0x1_0000_0001, 1, &[1, 3, 0x2_0000_0001], &[0, 0x1_0000_0001]),
        ];
        for (op, value, two, hits, misses) in table {
            let program = rule(op, value, two);
            let answer = |arg: u64| run(&program, X86_64, 39, [0, arg, 0, 0, 0, 0]);
            for hit in hits {
                assert_eq!(answer(*hit), EPERM, "{op} {hit:#x}");
            }
            for miss in misses {
                assert_eq!(answer(*miss), ALLOW, "{op} {miss:#x}");
            }
        }
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives_and_on_several_hold_together() {
        let program = program(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
                    { "index": 0, "value": 0, "op": "SCMP_CMP_EQ" },
                    { "index": 0, "value": 8, "op": "SCMP_CMP_EQ" },
                ] },
                { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                    { "index": 0, "value": 2, "op": "SCMP_CMP_EQ" },
                    { "index": 1, "value": 1, "op": "SCMP_CMP_EQ" },
                ] },
            ],
        }));
        let answer = |number, a, b| run(&program, X86_64, number, [a, b, 0, 0, 0, 0]);
        assert_eq!([answer(135, 0, 0), answer(135, 8, 0), answer(135, 1, 0)], [ALLOW, ALLOW, EPERM]);
        assert_eq!([answer(41, 2, 1), answer(41, 2, 2), answer(41, 1, 1)], [ALLOW, EPERM, EPERM]);
    }
}
