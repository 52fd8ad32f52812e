//! A list of device rules in the terms of cgroup v1: a default, and exceptions from it that are all of one sign.
//!
//! The kernel takes rules one by one, and where one would make a hole in an exception that says more it does nothing, and says nothing
//! (security/device_cgroup.c). So what the whole list comes to is worked out first; a list that no set of exceptions can
//! say is refused.

use super::devices::{Access, Rule, Type};
use super::grants::{ALL, Kind, Major, kind};
use crate::error::{Error, Kind as ErrorKind};

/// Everything is denied, or allowed, but for these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceptions {
    /// The rule about everything.
    pub default: Rule,
    pub rules: Vec<Rule>,
}

/// With what is granted as the exceptions, or with what is denied: the first that can say it.
pub fn exceptions(rules: &[Rule]) -> Result<Exceptions, Error> {
    let kinds = [Type::Char, Type::Block].map(|name| (name, kind(rules, name)));
    let everything = kinds.iter().all(|(_, kind)| kind.other.other == ALL);
    let signs = if everything { [false, true] } else { [true, false] };
    signs.into_iter().find_map(|allow| with_sign(&kinds, allow)).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "linux.resources.devices: an exception from an exception, which cgroup v1 cannot express",
        )
        .hint(
            "name the devices that are allowed one by one, without a deny rule inside a rule with wildcards",
        )
    })
}

fn with_sign(kinds: &[(Type, Kind)], allow: bool) -> Option<Exceptions> {
    let mut all = Vec::new();
    for (name, kind) in kinds {
        all.extend(of_kind(*name, kind, allow)?);
    }
    let default = Rule { allow: !allow, kind: None, major: None, minor: None, access: Access::ALL };
    Some(Exceptions { default, rules: all })
}

/// From the widest to the narrowest, each where those that are wider do not say as much; None where they say more.
fn of_kind(name: Type, kind: &Kind, allow: bool) -> Option<Vec<Rule>> {
    let bits = |granted: u8| if allow { granted } else { ALL & !granted };
    let mut rules = Vec::new();
    // `said` by two wider exceptions; a request for several kinds of access has to find them all in one.
    let mut tell = |major: Option<u32>, minor: Option<u32>, wanted: u8, said: [u8; 2]| -> Option<u8> {
        if said.iter().any(|wider| wider & !wanted != 0) {
            return None;
        }
        if !said.contains(&wanted) {
            rules.push(Rule { allow, kind: Some(name), major, minor, access: Access::of_bits(wanted) });
        }
        Some(wanted)
    };
    let widest = tell(None, None, bits(kind.other.other), [0, 0])?;
    for (minor, granted) in &kind.other.minors {
        tell(None, Some(*minor), bits(*granted), [widest, widest])?;
    }
    for (major, inside) in &kind.majors {
        let own = tell(Some(*major), None, bits(inside.other), [widest, widest])?;
        for minor in told_of(inside, &kind.other) {
            let across = bits(granted(&kind.other, minor));
            tell(Some(*major), Some(minor), bits(granted(inside, minor)), [own, across])?;
        }
    }
    Some(rules)
}

/// The minor numbers of this major that any rule tells apart.
fn told_of(inside: &Major, across: &Major) -> Vec<u32> {
    let mut all: Vec<u32> = inside.minors.iter().chain(&across.minors).map(|(number, _)| *number).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn granted(major: &Major, minor: u32) -> u8 {
    let own = major.minors.binary_search_by_key(&minor, |(number, _)| *number).ok();
    own.and_then(|at| major.minors.get(at)).map_or(major.other, |(_, bits)| *bits)
}

#[cfg(test)]
mod tests {
    use super::super::grants::definition::{NUMBERS, by_the_rules, lists};
    use super::*;

    /// What the kernel does (`match_exception` and `match_exception_partial` of security/device_cgroup.c): an allowed exception has to
    /// hold the whole of what is asked for, one that is denied any part of it.
    fn kernel(told: &Exceptions, bits: u32, kind: Type, (major, minor): (u32, u32)) -> bool {
        let mut fitting = told.rules.iter().filter(|rule| {
            rule.kind == Some(kind)
                && rule.major.is_none_or(|own| own == major)
                && rule.minor.is_none_or(|own| own == minor)
        });
        match told.default.allow {
            true => !fitting.any(|rule| u32::from(rule.access.bits()) & bits != 0),
            false => fitting.any(|rule| bits & !u32::from(rule.access.bits()) == 0),
        }
    }

    #[test]
    fn what_can_be_said_is_what_the_rules_mean() {
        let mut refused = 0;
        for rules in lists() {
            let Ok(told) = exceptions(&rules) else {
                refused += 1;
                continue;
            };
            for kind in [Type::Block, Type::Char] {
                for numbers in NUMBERS {
                    for bits in 1..8 {
                        assert_eq!(
                            kernel(&told, bits, kind, numbers),
                            by_the_rules(&rules, bits, kind, numbers),
                            "{rules:?}: {bits} {kind:?} {numbers:?}; {told:?}"
                        );
                    }
                }
            }
        }
        // Of 27,648 lists.
        assert_eq!(refused, 2126);
    }
}
