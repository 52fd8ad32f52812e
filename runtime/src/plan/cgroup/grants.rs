//! What a list of device rules comes to: for each device the kinds of access that are granted. v1's files and v2's program are two
//! ways to tell the kernel.

use super::devices::{Rule, Type};

/// Every bit of access.
pub(super) const ALL: u8 = 7;

/// What is granted to one kind of device, by major number; those without an entry come under `other`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) majors: Vec<(u32, Major)>,
    pub(super) other: Major,
}

/// What is granted by minor number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Major {
    pub(super) minors: Vec<(u32, u8)>,
    pub(super) other: u8,
}

impl Kind {
    /// The same for all of them.
    pub(super) fn is_uniform(&self) -> Option<u8> {
        (self.majors.is_empty() && self.other.minors.is_empty()).then_some(self.other.other)
    }
}

/// What the rules grant, worked out.
pub(super) fn kind(rules: &[Rule], kind: Type) -> Kind {
    let rules: Vec<&Rule> =
        rules.iter().filter(|rule| rule.kind.is_none() || rule.kind == Some(kind)).collect();
    let other = major(&rules, None);
    let mut majors: Vec<u32> = rules.iter().filter_map(|rule| rule.major).collect();
    majors.sort_unstable();
    majors.dedup();
    let majors = majors.into_iter().map(|number| (number, major(&rules, Some(number))));
    Kind { majors: majors.filter(|(_, one)| *one != other).collect(), other }
}

fn major(rules: &[&Rule], number: Option<u32>) -> Major {
    let rules: Vec<&Rule> =
        rules.iter().filter(|rule| rule.major.is_none() || rule.major == number).copied().collect();
    let other = granted(&rules, None);
    let mut minors: Vec<u32> = rules.iter().filter_map(|rule| rule.minor).collect();
    minors.sort_unstable();
    minors.dedup();
    let minors = minors.into_iter().map(|number| (number, granted(&rules, Some(number))));
    Major { minors: minors.filter(|(_, bits)| *bits != other).collect(), other }
}

/// For each kind of access the last rule that speaks of it counts; before the first, nothing is granted.
fn granted(rules: &[&Rule], minor: Option<u32>) -> u8 {
    let fitting = rules.iter().filter(|rule| rule.minor.is_none() || rule.minor == minor);
    fitting.fold(0, |bits, rule| match rule.allow {
        true => bits | rule.access.bits(),
        false => bits & !rule.access.bits(),
    })
}

/// What a list means, for the tests of both ways to tell it.
#[cfg(test)]
pub(super) mod definition {
    use super::super::devices::{Access, Rule, Type, plan};
    use crate::plan::Need;

    /// Devices that some of the rules tell apart.
    pub(crate) const NUMBERS: [(u32, u32); 5] = [(1, 3), (1, 4), (2, 3), (2, 4), (136, 3)];

    /// For each kind of access the last rule that fits the device and speaks of it.
    pub(crate) fn by_the_rules(rules: &[Rule], bits: u32, kind: Type, (major, minor): (u32, u32)) -> bool {
        let fits = |rule: &&Rule| {
            rule.kind.is_none_or(|own| own == kind)
                && rule.major.is_none_or(|own| own == major)
                && rule.minor.is_none_or(|own| own == minor)
        };
        [1, 2, 4].into_iter().filter(|bit| bits & bit != 0).all(|bit| {
            let speaks = |rule: &&Rule| u32::from(rule.access.bits()) & bit != 0;
            rules.iter().filter(fits).rfind(speaks).is_some_and(|rule| rule.allow)
        })
    }

    /// Every list of three rules out of these, alone and before the default ones.
    pub(crate) fn lists() -> Vec<Vec<Rule>> {
        let mut known = Vec::new();
        for allow in [false, true] {
            for (major, minor) in [(None, None), (Some(1), None), (Some(1), Some(3)), (None, Some(3))] {
                let own = Access { mknod: false, ..Access::ALL };
                let node = Access { mknod: true, read: false, write: false };
                for (kind, access) in
                    [(None, Access::ALL), (Some(Type::Char), own), (Some(Type::Block), node)]
                {
                    known.push(Rule { allow, kind, major, minor, access });
                }
            }
        }
        let always = plan(&[], Need::Required).unwrap().rules;
        let mut all = Vec::new();
        for first in &known {
            for second in &known {
                for third in &known {
                    let alone = vec![*first, *second, *third];
                    all.extend([[alone.clone(), always.clone()].concat(), alone]);
                }
            }
        }
        all
    }
}
