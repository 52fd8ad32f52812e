//! The container's process: program, identity, rights and limits.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process as SpecProcess};

use super::caps::{self, CapSet, Caps};
use super::facts::{Security, Setgroups};
use super::memory::MemoryPolicy;
use super::sched::{self, Scheduler};
use super::{Need, Side, text};
use crate::error::{Error, Kind};

/// Everything that execve needs, and what goes before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    pub home: Home,
    pub cwd: PathBuf,
    pub user: User,
    pub caps: Caps,
    pub rlimits: Vec<Rlimit>,
    pub rlimits_by: Side,
    pub new_privileges: NewPrivileges,
    pub terminal: Option<Terminal>,
    pub oom_score: Option<OomScore>,
    pub labels: Labels,
    pub scheduler: Option<Scheduler>,
    pub io_priority: Option<i32>,
    pub personality: Option<u64>,
    pub memory_policy: Option<MemoryPolicy>,
    /// Descriptors from 3 up that the program gets.
    pub preserve_fds: u32,
}

impl Process {
    /// Whether the host has limits to set, for which init asks.
    pub fn is_limited_by_host(&self) -> bool {
        self.rlimits_by == Side::Host && !self.rlimits.is_empty()
    }
}

/// Whether HOME still has to be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Given,
    FromPasswd,
}

/// The identity of the process, in the container's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Groups,
    pub umask: u32,
}

/// Supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    Set(Vec<u32>),
    /// The kernel forbids `setgroups` in this user namespace.
    Keep,
    /// None, unless the kernel forbids it, and then they stay.
    NoneWherePossible,
}

/// Whether execve may grant more rights (setuid programs, file capabilities).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewPrivileges {
    Possible,
    Never,
}

/// One resource limit, with the kernel's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// A pseudo terminal, and its size where one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    pub size: Option<(u16, u16)>,
}

/// How ready the kernel shall be to kill the process for its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomScore {
    pub value: i32,
    pub need: Need,
}

/// Security module labels, applied by execve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    pub apparmor: Option<String>,
    pub selinux: Option<String>,
}

/// What the process is put into.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    /// What init holds: cut to that.
    pub bounding: CapSet,
    pub permitted: CapSet,
    pub setgroups: Setgroups,
    pub rlimits_by: Side,
    pub oom: Need,
    pub security: Security,
    pub preserve_fds: u32,
}

/// Checks and completes the process of the configuration.
pub fn plan(spec: &SpecProcess, around: &Around, warnings: &mut Vec<String>) -> Result<Process, Error> {
    let env = environment(spec.env().as_deref().unwrap_or_default())?;
    let has_home =
        env.iter().any(|entry| entry.to_bytes().strip_prefix(b"HOME=").is_some_and(|v| !v.is_empty()));
    let mut caps = caps::plan(spec.capabilities().as_ref(), around.permitted, warnings);
    caps.drop_from_bounding = caps.drop_from_bounding.with(around.bounding.without(around.permitted));
    Ok(Process {
        args: arguments(spec)?,
        env,
        home: if has_home { Home::Given } else { Home::FromPasswd },
        cwd: text::absolute(spec.cwd(), "process.cwd")?,
        user: user(spec, around.setgroups)?,
        caps,
        rlimits: rlimits(spec.rlimits().as_deref().unwrap_or_default())?,
        rlimits_by: around.rlimits_by,
        new_privileges: match spec.no_new_privileges().unwrap_or(false) {
            true => NewPrivileges::Never,
            false => NewPrivileges::Possible,
        },
        terminal: spec.terminal().unwrap_or(false).then(|| terminal(spec)),
        oom_score: oom_score(spec.oom_score_adj(), around.oom)?,
        labels: labels(spec, around.security)?,
        scheduler: sched::scheduler(spec.scheduler().as_ref())?,
        io_priority: sched::io_priority(spec.io_priority().as_ref())?,
        personality: None,
        memory_policy: None,
        preserve_fds: around.preserve_fds,
    })
}

fn arguments(spec: &SpecProcess) -> Result<Vec<CString>, Error> {
    let args = spec.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(text::invalid("process.args", "must not be empty"));
    }
    args.iter().map(|arg| text::no_nul(arg, "process.args")).collect()
}

/// Of a name that is set twice the last value counts, at the first one's place.
fn environment(entries: &[String]) -> Result<Vec<CString>, Error> {
    let mut unique: Vec<&String> = Vec::with_capacity(entries.len());
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let name = match entry.split_once('=') {
            Some((name, _)) if !name.is_empty() => name,
            _ => return Err(text::invalid(format!("process.env[{at}]"), "is not NAME=VALUE")),
        };
        let place = *places.entry(name).or_insert(unique.len());
        match unique.get_mut(place) {
            Some(earlier) => *earlier = entry,
            None => unique.push(entry),
        }
    }
    unique.into_iter().map(|entry| text::no_nul(entry, "process.env")).collect()
}

fn user(spec: &SpecProcess, setgroups: Setgroups) -> Result<User, Error> {
    let user = spec.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    // The kernel reads 2^32-1 as "no change".
    if user.uid() == u32::MAX || user.gid() == u32::MAX || groups.contains(&u32::MAX) {
        return Err(text::invalid("process.user", "4294967295 is not an id"));
    }
    let groups = match setgroups {
        Setgroups::Allow => Groups::Set(groups),
        Setgroups::Unknown if groups.is_empty() => Groups::NoneWherePossible,
        Setgroups::Unknown => Groups::Set(groups),
        Setgroups::Deny if groups.is_empty() => Groups::Keep,
        Setgroups::Deny => {
            return Err(Error::new(
                Kind::Unsupported,
                "config.json: process.user.additionalGids: setgroups is denied in this user namespace",
            )
            .hint("map more than one group, by newgidmap"));
        }
    };
    Ok(User { uid: user.uid(), gid: user.gid(), groups, umask: user.umask().unwrap_or(0o022) & 0o777 })
}

fn terminal(spec: &SpecProcess) -> Terminal {
    let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
    let size = spec.console_size().map(|size| (short(size.height()), short(size.width())));
    Terminal { size: size.filter(|size| *size != (0, 0)) }
}

fn oom_score(value: Option<i32>, need: Need) -> Result<Option<OomScore>, Error> {
    match value {
        None => Ok(None),
        Some(value) if (-1000..=1000).contains(&value) => Ok(Some(OomScore { value, need })),
        Some(_) => Err(text::invalid("process.oomScoreAdj", "must be between -1000 and 1000")),
    }
}

fn labels(spec: &SpecProcess, security: Security) -> Result<Labels, Error> {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    // On a host without AppArmor everything is unconfined already.
    let apparmor = given(spec.apparmor_profile()).filter(|name| security.apparmor || name != "unconfined");
    let selinux = given(spec.selinux_label());
    if apparmor.is_some() && !security.apparmor {
        return Err(Error::new(
            Kind::Unsupported,
            "config.json: process.apparmorProfile: AppArmor is not enabled on this host",
        ));
    }
    if selinux.is_some() && !security.selinux {
        return Err(Error::new(
            Kind::Unsupported,
            "config.json: process.selinuxLabel: SELinux is not enabled on this host",
        ));
    }
    Ok(Labels { apparmor, selinux })
}

fn rlimits(asked: &[PosixRlimit]) -> Result<Vec<Rlimit>, Error> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for (at, limit) in asked.iter().enumerate() {
        let resource = resource(limit.typ());
        if limits.iter().any(|earlier| earlier.resource == resource) {
            return Err(text::invalid(
                format!("process.rlimits[{at}]"),
                format!("{} is listed twice", limit.typ()),
            ));
        }
        limits.push(Rlimit { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(limits)
}

fn resource(kind: PosixRlimitType) -> u32 {
    use PosixRlimitType as R;
    match kind {
        R::RlimitCpu => libc::RLIMIT_CPU,
        R::RlimitFsize => libc::RLIMIT_FSIZE,
        R::RlimitData => libc::RLIMIT_DATA,
        R::RlimitStack => libc::RLIMIT_STACK,
        R::RlimitCore => libc::RLIMIT_CORE,
        R::RlimitRss => libc::RLIMIT_RSS,
        R::RlimitNproc => libc::RLIMIT_NPROC,
        R::RlimitNofile => libc::RLIMIT_NOFILE,
        R::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        R::RlimitAs => libc::RLIMIT_AS,
        R::RlimitLocks => libc::RLIMIT_LOCKS,
        R::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        R::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        R::RlimitNice => libc::RLIMIT_NICE,
        R::RlimitRtprio => libc::RLIMIT_RTPRIO,
        R::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}
