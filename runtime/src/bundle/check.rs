//! One function per rule of the specification that types cannot express; all violations are reported at once.

use oci_spec::runtime::{Linux, LinuxNamespaceType as Type, Spec};

use crate::error::{Error, Kind};

/// What is wrong, and where (JSON pointer).
type Violations = Vec<(String, String)>;

const RULES: [fn(&Spec, &mut Violations); 8] =
    [version, root, process, hostname, mounts, rlimits, annotations, page_sizes];

/// Every rule, in order.
pub fn check(spec: &Spec) -> Result<(), Error> {
    let mut found = Violations::new();
    for rule in RULES {
        rule(spec, &mut found);
    }
    match found.is_empty() {
        true => Ok(()),
        false => {
            let lines: Vec<String> = found.iter().map(|(place, what)| format!("{place}: {what}")).collect();
            Err(Error::new(Kind::Invalid, format!("config.json: {}", lines.join("; "))))
        }
    }
}

fn add(found: &mut Violations, place: &str, what: impl Into<String>) {
    found.push((place.to_owned(), what.into()));
}

/// Every 1.x is understood: later minor versions only add members.
fn version(spec: &Spec, found: &mut Violations) {
    let version = spec.version();
    let mut parts = version.splitn(3, '.');
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    let major = parts.next();
    match (major, is_number(parts.next()), parts.next().is_some_and(|rest| !rest.is_empty())) {
        (Some(""), ..) => add(found, "/ociVersion", "is missing"),
        (Some("1"), true, true) => {}
        (major, true, true) if is_number(major) => {
            add(found, "/ociVersion", format!("{version} is not supported, 1.x is"));
        }
        _ => add(found, "/ociVersion", format!("{version:?} is no semantic version")),
    }
}

fn root(spec: &Spec, found: &mut Violations) {
    match spec.root() {
        None => add(found, "/root", "is missing"),
        Some(root) if root.path().as_os_str().is_empty() => add(found, "/root/path", "must not be empty"),
        Some(_) => {}
    }
    if spec.linux().is_none() {
        add(found, "/linux", "is missing");
    }
}

fn process(spec: &Spec, found: &mut Violations) {
    let Some(process) = spec.process() else { return add(found, "/process", "is missing") };
    if !process.cwd().is_absolute() {
        add(found, "/process/cwd", "Cwd must be an absolute path");
    }
    if process.args().as_deref().unwrap_or_default().is_empty() {
        add(found, "/process/args", "args must not be empty");
    }
    let strings = process.args().iter().chain(process.env()).flatten();
    if strings.into_iter().any(|text| text.contains('\0')) {
        add(found, "/process", "a string contains a NUL character");
    }
    if process.user().uid() == u32::MAX || process.user().gid() == u32::MAX {
        add(found, "/process/user", "4294967295 is not an id");
    }
}

fn lists(linux: &Linux, kind: Type) -> bool {
    linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind)
}

fn hostname(spec: &Spec, found: &mut Violations) {
    let has_uts = spec.linux().as_ref().is_some_and(|linux| lists(linux, Type::Uts));
    for (name, place) in [(spec.hostname(), "/hostname"), (spec.domainname(), "/domainname")] {
        let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { continue };
        if !has_uts {
            add(found, place, "unable to set hostname without a private UTS namespace");
        }
        if name.len() > 64 || name.contains('\0') {
            add(found, place, "must be at most 64 bytes, without NUL");
        }
    }
}

/// Without a mount namespace the caller's mounts are at stake.
fn mounts(spec: &Spec, found: &mut Violations) {
    let Some(linux) = spec.linux().as_ref().filter(|linux| !lists(linux, Type::Mount)) else { return };
    let is_empty = |paths: &Option<Vec<String>>| paths.iter().flatten().next().is_none();
    if !is_empty(linux.masked_paths()) || !is_empty(linux.readonly_paths()) {
        add(found, "/linux", "unable to restrict sys entries without a private MNT namespace");
    }
    if linux.rootfs_propagation().iter().any(|word| !word.is_empty()) {
        add(found, "/linux/rootfsPropagation", "needs a mount namespace, the host's mounts are not changed");
    }
    if lists(linux, Type::User) {
        add(found, "/linux/namespaces", "a user namespace has no right to mount without a mount namespace");
    }
}

fn rlimits(spec: &Spec, found: &mut Violations) {
    let limits = spec.process().as_ref().and_then(|process| process.rlimits().as_deref()).unwrap_or_default();
    for (at, limit) in limits.iter().enumerate() {
        let place = format!("/process/rlimits/{at}");
        if limits.iter().take(at).any(|earlier| earlier.typ() == limit.typ()) {
            add(found, &place, format!("{} is listed twice", limit.typ()));
        }
        if limit.soft() > limit.hard() {
            add(found, &place, format!("the soft limit of {} is above the hard one", limit.typ()));
        }
    }
}

fn annotations(spec: &Spec, found: &mut Violations) {
    if spec.annotations().iter().flatten().any(|(key, _)| key.is_empty()) {
        add(found, "/annotations", "a key is empty");
    }
}

/// The size is a part of a file's name.
fn page_sizes(spec: &Spec, found: &mut Violations) {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limits = resources.and_then(|resources| resources.hugepage_limits().as_deref()).unwrap_or_default();
    for (at, limit) in limits.iter().enumerate() {
        let size = limit.page_size();
        if size.is_empty() || !size.chars().all(|c| c.is_ascii_alphanumeric()) {
            let place = format!("/linux/resources/hugepageLimits/{at}/pageSize");
            add(found, &place, format!("{size:?} is no size of a page, such as 2MB"));
        }
    }
}
