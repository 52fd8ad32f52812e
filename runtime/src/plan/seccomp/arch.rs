//! Architectures: how a filter tells them apart, and their calls.

use oci_spec::runtime::Arch;

use super::tables;

/// One way of making system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abi {
    pub(super) name: &'static str,
    /// `AUDIT_ARCH_*` (linux/audit.h).
    pub(super) audit: u32,
    /// Added to every number: x32 shares the architecture of x86-64 and differs by a bit.
    pub(super) bit: u32,
    pub(super) width: Width,
    /// "number=name" words, ascending from piece to piece.
    calls: &'static [&'static str],
}

/// How much of an argument counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Bits32,
    Bits64,
}

/// The bit that a call of x32 has.
pub(super) const X32: u32 = 0x4000_0000;
/// Calls private to one architecture start here (ARM); they say nothing about a profile's age.
pub(super) const PRIVATE: u32 = 0xf_0000;

impl Abi {
    /// Number of every call, and its names with slashes between them.
    pub(super) fn calls(self) -> impl Iterator<Item = (u32, &'static str)> {
        self.calls.iter().flat_map(|piece| words(piece)).map(move |(number, name)| (number | self.bit, name))
    }
}

/// Byte by byte: with the library's searches for a character this was a tenth of the time that a profile takes.
fn words(mut rest: &'static str) -> impl Iterator<Item = (u32, &'static str)> {
    std::iter::from_fn(move || {
        let equals = rest.bytes().position(|byte| byte == b'=')?;
        let (digits, name) = (rest.get(..equals)?, rest.get(equals + 1..)?);
        let end = name.bytes().position(|byte| byte == b' ').unwrap_or(name.len());
        rest = name.get(end + 1..).unwrap_or_default();
        let number = digits.bytes().fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0'));
        Some((number, name.get(..end)?))
    })
}

const fn abi(name: &'static str, audit: u32, width: Width, calls: &'static [&'static str]) -> Abi {
    Abi { name, audit, bit: 0, width, calls }
}

const X86_64: Abi = abi("x86_64", 0xc000_003e, Width::Bits64, &[tables::x86_64::CALLS, tables::newer::CALLS]);
const GENERIC: &[&str] = &[tables::generic::CALLS, tables::newer::CALLS];
const POWERPC64: &[&str] = &[tables::powerpc64::CALLS, tables::newer::CALLS];
const S390X: &[&str] = &[tables::s390x::CALLS, tables::newer::CALLS];
const X86: &[&str] = &[tables::x86::CALLS, tables::newer::TIME64, tables::newer::CALLS];
const X32_CALLS: &[&str] = &[tables::x32::CALLS, tables::newer::CALLS, tables::x32::OWN];
const ARM: &[&str] = &[tables::arm::CALLS, tables::newer::TIME64, tables::newer::CALLS, tables::arm::OWN];

/// All that are known, by the name that the specification gives them.
const ALL: [(Arch, Abi); 10] = [
    (Arch::ScmpArchX86_64, X86_64),
    (Arch::ScmpArchX86, abi("x86", 0x4000_0003, Width::Bits32, X86)),
    (Arch::ScmpArchX32, Abi { name: "x32", bit: X32, calls: X32_CALLS, ..X86_64 }),
    (Arch::ScmpArchAarch64, abi("aarch64", 0xc000_00b7, Width::Bits64, GENERIC)),
    (Arch::ScmpArchArm, abi("arm", 0x4000_0028, Width::Bits32, ARM)),
    (Arch::ScmpArchRiscv64, abi("riscv64", 0xc000_00f3, Width::Bits64, GENERIC)),
    (Arch::ScmpArchPpc64, abi("ppc64", 0x8000_0015, Width::Bits64, POWERPC64)),
    (Arch::ScmpArchPpc64le, abi("ppc64le", 0xc000_0015, Width::Bits64, POWERPC64)),
    (Arch::ScmpArchS390x, abi("s390x", 0x8000_0016, Width::Bits64, S390X)),
    (Arch::ScmpArchLoongarch64, abi("loongarch64", 0xc000_0102, Width::Bits64, GENERIC)),
];

/// The architecture that this program is built for; its own calls are always among those filtered.
const NATIVE: Arch = if cfg!(target_arch = "x86_64") {
    Arch::ScmpArchX86_64
} else if cfg!(target_arch = "aarch64") {
    Arch::ScmpArchAarch64
} else if cfg!(target_arch = "riscv64") {
    Arch::ScmpArchRiscv64
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    Arch::ScmpArchPpc64le
} else if cfg!(target_arch = "powerpc64") {
    Arch::ScmpArchPpc64
} else if cfg!(target_arch = "s390x") {
    Arch::ScmpArchS390x
} else if cfg!(target_arch = "loongarch64") {
    Arch::ScmpArchLoongarch64
} else if cfg!(target_arch = "arm") {
    Arch::ScmpArchArm
} else {
    Arch::ScmpArchX86
};

/// The native one first, each once. No processor that this program runs on carries out the calls of one that is not known here (MIPS, say), so
/// that nothing is to be allowed for it: a profile may name it for other machines.
pub(super) fn plan(asked: &[Arch]) -> Vec<Abi> {
    let mut abis = Vec::new();
    for arch in std::iter::once(&NATIVE).chain(asked) {
        let known = ALL.iter().find(|(known, _)| known == arch).map(|(_, abi)| *abi);
        abis.extend(known.filter(|abi| !abis.contains(abi)));
    }
    abis
}

/// All that are known.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(_, abi)| abi.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(arch: &str, name: &str) -> Option<u32> {
        let (_, abi) = ALL.iter().find(|(_, abi)| abi.name == arch).unwrap();
        abi.calls().find(|(_, names)| names.split('/').any(|one| one == name)).map(|(number, _)| number)
    }

    /// A second name for a number would be a second range from the same number on.
    #[test]
    fn numbers_ascend_and_every_word_is_read() {
        for (_, abi) in ALL {
            let numbers: Vec<u32> = abi.calls().map(|(number, _)| number).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{}", abi.name);
            let words = abi.calls.iter().flat_map(|piece| piece.split(' ')).count();
            assert_eq!(numbers.len(), words, "{}", abi.name);
        }
    }

    /// From linux/unistd.h of each architecture, Linux 6.1.
    #[test]
    fn calls_that_came_late_have_their_numbers() {
        for (arch, name, expected) in [
            ("aarch64", "io_pgetevents", 292),
            ("riscv64", "riscv_flush_icache", 259),
            ("riscv64", "kexec_file_load", 294),
            ("loongarch64", "fstat", 80),
            ("arm", "clock_gettime64", 403),
            ("arm", "arm_sync_file_range", 341),
            ("arm", "sync_file_range2", 341),
            ("arm", "set_tls", 0xf_0005),
            ("x86", "futex_time64", 422),
            ("ppc64le", "semget", 393),
            ("ppc64", "pkey_alloc", 384),
            ("s390x", "io_pgetevents", 382),
            ("s390x", "msgctl", 402),
            ("x86_64", "file_setattr", 469),
            ("x32", "execveat", X32 | 545),
        ] {
            assert_eq!(number(arch, name), Some(expected), "{name} of {arch}");
        }
        assert_eq!(number("x86_64", "clock_gettime64"), None);
    }
}
