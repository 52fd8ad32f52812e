//! The rules of a profile, by the name of the call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSyscall};

use crate::error::{Error, Kind};
use crate::plan::text::invalid;

/// What the kernel shall answer: `SECCOMP_RET_*`.
pub(super) type Answer = u32;

/// A profile, read.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) default: Answer,
    pub(super) permissive: bool,
    by_name: HashMap<&'a str, Said>,
}

/// All that is said about one call; most are named once.
#[derive(Debug)]
enum Said {
    Once(Rule),
    More(Vec<Rule>),
}

impl Said {
    fn rules(&self) -> &[Rule] {
        match self {
            Self::Once(rule) => std::slice::from_ref(rule),
            Self::More(rules) => rules,
        }
    }

    fn add(&mut self, rule: Rule) {
        match self {
            Self::Once(first) => *self = Self::More(vec![first.clone(), rule]),
            Self::More(rules) => rules.push(rule),
        }
    }
}

/// One entry for one call.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// All of these at once; none at all fits always.
    pub(super) args: Vec<LinuxSeccompArg>,
    pub(super) answer: Answer,
}

const NOTIFY: u32 = 0x7fc0_0000;

impl Rules<'_> {
    /// What is said about a call, in the order of the profile, alternatives one by one.
    pub(super) fn of(&self, name: &str) -> &[Rule] {
        self.by_name.get(name).map_or(&[], Said::rules)
    }

    /// Some call goes to a listener.
    pub(super) fn notifies_of(&self, name: &str) -> bool {
        self.of(name).iter().any(|rule| rule.answer == NOTIFY)
    }

    pub(super) fn notifies(&self) -> bool {
        self.by_name.values().flat_map(Said::rules).any(|rule| rule.answer == NOTIFY)
    }
}

/// Reads the profile.
pub(super) fn plan(asked: &LinuxSeccomp) -> Result<Rules<'_>, Error> {
    let action = asked.default_action();
    if action == Action::ScmpActNotify {
        let reason = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(invalid("linux.seccomp.defaultAction", reason));
    }
    let default = answer(action, asked.default_errno_ret(), "linux.seccomp.defaultErrnoRet")?;
    let names = asked.syscalls().iter().flatten().map(|syscall| syscall.names().len()).sum();
    let mut by_name: HashMap<&str, Said> = HashMap::with_capacity(names);
    for (at, syscall) in asked.syscalls().iter().flatten().enumerate() {
        let field = format!("linux.seccomp.syscalls[{at}]");
        let answer = answer(syscall.action(), syscall.errno_ret(), &field)?;
        if answer == NOTIFY && syscall.names().iter().any(|name| name == "write") {
            // Init itself writes to the runtime once the filter is in force.
            return Err(invalid(&field, "SCMP_ACT_NOTIFY cannot be used for the write syscall"));
        }
        let alternatives = alternatives(syscall, &field)?;
        for name in syscall.names() {
            for args in &alternatives {
                let rule = Rule { args: args.clone(), answer };
                match by_name.entry(name.as_str()) {
                    Entry::Vacant(free) => {
                        free.insert(Said::Once(rule));
                    }
                    Entry::Occupied(mut said) => said.get_mut().add(rule),
                }
            }
        }
    }
    Ok(Rules { default, permissive: super::is_permissive(action), by_name })
}

/// Conditions on different arguments hold together; when one argument has several, each condition stands alone (runc's reading, for
/// the sake of profiles like Docker's for `personality`).
fn alternatives(syscall: &LinuxSyscall, field: &str) -> Result<Vec<Vec<LinuxSeccompArg>>, Error> {
    let args = syscall.args().as_deref().unwrap_or_default();
    if args.iter().any(|arg| arg.index() > 5) {
        return Err(invalid(format!("{field}.args"), "an argument's index must be between 0 and 5"));
    }
    let repeated = args
        .iter()
        .enumerate()
        .any(|(at, arg)| args.iter().take(at).any(|earlier| earlier.index() == arg.index()));
    Ok(match repeated {
        true => args.iter().map(|arg| vec![*arg]).collect(),
        false => vec![args.to_vec()],
    })
}

fn answer(action: Action, errno: Option<u32>, field: &str) -> Result<Answer, Error> {
    let with_value = |base: u32| {
        let value = errno.unwrap_or(libc::EPERM.cast_unsigned());
        match u16::try_from(value) {
            Ok(value) => Ok(base | u32::from(value)),
            Err(_) => Err(invalid(field, format!("errnoRet {value} does not fit 16 bits"))),
        }
    };
    if errno.is_some() && !matches!(action, Action::ScmpActErrno | Action::ScmpActTrace) {
        let text = format!("config.json: {field}: errnoRet is only for SCMP_ACT_ERRNO and SCMP_ACT_TRACE");
        return Err(Error::new(Kind::Invalid, text));
    }
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => Ok(super::KILL_THREAD),
        Action::ScmpActKillProcess => Ok(0x8000_0000),
        Action::ScmpActTrap => Ok(0x0003_0000),
        Action::ScmpActErrno => with_value(0x0005_0000),
        Action::ScmpActTrace => with_value(0x7ff0_0000),
        Action::ScmpActNotify => Ok(NOTIFY),
        Action::ScmpActLog => Ok(0x7ffc_0000),
        Action::ScmpActAllow => Ok(0x7fff_0000),
    }
}
