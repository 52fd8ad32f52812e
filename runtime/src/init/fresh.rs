//! File systems of the container's own.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::mounts::{Proc, Site, directory, ordinary_directory, wrong};
use super::place::{self, Origin};
use super::{fds, flags};
use crate::error::Error;
use crate::plan::mount_options::{CopyUp, Param};
use crate::plan::mounts::{Fresh, Mode, Mount};
use crate::sys::{mount, staged};

/// Makes the file system, fills it where asked, and attaches it. None where nothing is left to be done with it.
pub fn attach(planned: &Mount, wanted: &Fresh, site: &Site<'_>) -> Result<Option<OwnedFd>, Error> {
    let fail = |source| wrong(planned, source);
    let attrs = planned.attrs.own.set | planned.attrs.tree.set;
    let is_final = is_final(planned, wanted, site);
    if let (true, Some((top, name))) = (is_final, site.inside_newest(planned))
        && place::make_directory(top, name).is_ok()
        && at_once(wanted, &complete(wanted, None, site).map_err(fail)?, attrs, &below(top, Some(name)))
            .is_ok()
    {
        return Ok(None);
    }
    let place = match wanted.kind.as_str() {
        kind @ ("proc" | "sysfs") => ordinary_directory(planned, kind, site)?,
        _ => directory(planned, site)?,
    };
    let covered = (place.origin == Origin::Found).then_some(&place.fd);
    let params = complete(wanted, covered, site).map_err(fail)?;
    let is_long = site.proc == Proc::Hosts && is_long(wanted, &params);
    if is_final || is_long {
        match at_once(wanted, &params, attrs, &below(&place.fd, None)) {
            Ok(()) => {
                let holds_others = super::mounts::may_hold_others(planned, site.newest.as_ref());
                let top = match is_final && !holds_others {
                    true => None,
                    false => Some(top(planned, &place.fd, site).map_err(fail)?),
                };
                fds::leave(place.fd);
                return Ok(top);
            }
            Err(source) if is_long => return Err(wrong(planned, source)),
            Err(_) => {}
        }
    }
    let mounted = make(&wanted.kind, &wanted.source, &params, attrs).map_err(|(source, reason)| {
        let error = wrong(planned, source);
        let denied = error.errno() == Some(libc::EPERM);
        match (reason, wanted.kind.as_str()) {
            (Some(reason), _) => error.hint(reason),
            (None, "proc" | "sysfs") if denied => {
                error.hint("in a user namespace this needs one that nothing covers a part of")
            }
            _ => error,
        }
    })?;
    if wanted.copy_up == CopyUp::Yes && place.origin == Origin::Found {
        super::copy_up::copy(&place.fd, &mounted).map_err(|source| wrong(planned, source))?;
    }
    mount::attach(&mounted, &place.fd).map_err(|source| wrong(planned, source))?;
    fds::leave(place.fd);
    Ok(Some(mounted))
}

fn top(planned: &Mount, covered: &OwnedFd, site: &Site<'_>) -> std::io::Result<OwnedFd> {
    place::top(site.root, &planned.destination, place::device(covered)?)
}

/// One of the usual kinds, with nothing to be changed or filled any more. (With mount(2) read-only goes to the superblock too, which
/// matters to those that somebody writes to.)
fn is_final(planned: &Mount, wanted: &Fresh, site: &Site<'_>) -> bool {
    let attrs = planned.attrs.own.set | planned.attrs.tree.set;
    planned.late.is_empty()
        && planned.propagation.is_empty()
        && wanted.copy_up == CopyUp::No
        && site.proc == Proc::Hosts
        && match wanted.kind.as_str() {
            "proc" | "sysfs" => true,
            "tmpfs" | "devpts" | "mqueue" => attrs & libc::MOUNT_ATTR_RDONLY == 0,
            _ => false,
        }
}

/// With mount(2), in a third of the system calls. What it refuses is tried again step by step, which finds the kernel's words for it.
fn at_once(wanted: &Fresh, params: &[Param], attrs: u64, target: &str) -> std::io::Result<()> {
    let (Some(options), Some(flags)) = (options(params), flags::of_mount(attrs)) else {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    };
    let (source, kind) = (Some(wanted.source.as_str()), Some(wanted.kind.as_str()));
    Ok(nix::mount::mount(source, target, kind, flags, Some(options.as_str()))?)
}

/// Whether fsconfig(2), which takes 256 bytes with the NUL, would refuse one: an overlay's layers are soon longer, and mount(2) takes
/// a page of all.
fn is_long(wanted: &Fresh, params: &[Param]) -> bool {
    let long = |value: &str| value.len() > 255;
    let mut params = params.iter();
    long(&wanted.source) || params.any(|param| matches!(param, Param::Value(_, value) if long(value)))
}

/// What is open, by a path: the host's own /proc says what that is, and is still reachable below `/`. A name is one that was just
/// made in a file system that nobody else can reach yet.
pub fn below(fd: &OwnedFd, name: Option<&OsStr>) -> String {
    let name = name.map(|name| format!("/{}", name.to_string_lossy())).unwrap_or_default();
    format!("/proc/self/fd/{}{name}", fd.as_raw_fd())
}

/// mount(2) reads no more than a page, and cuts off the rest.
const MOST_OPTIONS: usize = 4000;

/// None where a value's comma would end it, or they are too long.
fn options(params: &[Param]) -> Option<String> {
    let words: Option<Vec<String>> = params
        .iter()
        .map(|param| match param {
            Param::Flag(key) => Some(key.clone()),
            Param::Value(key, value) => (!value.contains(',')).then(|| format!("{key}={value}")),
        })
        .collect();
    words.map(|words| words.join(",")).filter(|options| options.len() < MOST_OPTIONS)
}

/// With what depends on the place: the mode that a tmpfs takes over from the directory that it covers.
fn complete(wanted: &Fresh, covered: Option<&OwnedFd>, site: &Site<'_>) -> std::io::Result<Vec<Param>> {
    let mut params = wanted.params.clone();
    if let (Mode::OfCovered, Some(covered)) = (wanted.mode, covered) {
        params.push(Param::Value("mode".to_owned(), format!("{:o}", place::mode(covered)?)));
    }
    let labelled = matches!(wanted.kind.as_str(), "tmpfs" | "mqueue" | "devpts");
    if let (Some(label), true) = (&site.rootfs.mount_label, labelled) {
        params.push(Param::Value("context".to_owned(), label.clone()));
    }
    Ok(params)
}

/// Why a file system could not be made: the errno, and the kernel's own words where it has some.
type Refusal = (std::io::Error, Option<String>);

fn plain(source: std::io::Error) -> Refusal {
    (source, None)
}

/// A detached mount.
pub fn make(kind: &str, source: &str, params: &[Param], attrs: u64) -> Result<OwnedFd, Refusal> {
    match on_descriptors(kind, source, params, attrs) {
        // One of the calls is missing.
        Err((why, _)) if why.raw_os_error() == Some(libc::ENOSYS) => {
            let params: Vec<String> = params.iter().map(as_option).collect();
            on_stage(kind, source, &params.join(","), attrs).map_err(plain)
        }
        other => other,
    }
}

/// mount(2) has one flag for a mount and a file system that are read-only.
fn on_stage(kind: &str, source: &str, params: &str, attrs: u64) -> std::io::Result<OwnedFd> {
    let readonly = attrs & libc::MOUNT_ATTR_RDONLY;
    if readonly == 0 || !is_virtual(kind) {
        return staged::make(kind, source, params, (attrs, 0));
    }
    match staged::make(kind, source, params, (attrs & !readonly, readonly)) {
        // In a user namespace where the one that is there is read-only, another one has to be so from the beginning.
        Err(denied) if denied.raw_os_error() == Some(libc::EPERM) => {
            staged::make(kind, source, params, (attrs, 0))
        }
        other => other,
    }
}

/// As mount(2) takes it: what has a comma in it, as a label has, is quoted.
fn as_option(param: &Param) -> String {
    match param {
        Param::Flag(key) => key.clone(),
        Param::Value(key, value) if value.contains(',') => format!("{key}=\"{value}\""),
        Param::Value(key, value) => format!("{key}={value}"),
    }
}

fn on_descriptors(kind: &str, source: &str, params: &[Param], attrs: u64) -> Result<OwnedFd, Refusal> {
    let context = mount::fsopen(&text(kind)?).map_err(plain)?;
    let made = set_all(&context, source, params).and_then(|()| {
        if attrs & libc::MOUNT_ATTR_RDONLY != 0 && !is_virtual(kind) {
            mount::set_flag(&context, c"ro").map_err(plain)?;
        }
        mount::create(&context).map_err(plain)
    });
    made.map_err(|(source, _)| (source, words(&context)))?;
    let mounted = mount::fsmount(&context, attrs).map_err(|source| (source, words(&context)))?;
    fds::leave(context);
    Ok(mounted)
}

fn set_all(context: &OwnedFd, source: &str, params: &[Param]) -> Result<(), Refusal> {
    mount::set_string(context, c"source", &text(source)?).map_err(plain)?;
    for param in params {
        match param {
            Param::Flag(key) => mount::set_flag(context, &text(key)?),
            Param::Value(key, value) => mount::set_string(context, &text(key)?, &text(value)?),
        }
        .map_err(plain)?;
    }
    Ok(())
}

fn text(text: &str) -> Result<CString, Refusal> {
    CString::new(text).map_err(|source| plain(source.into()))
}

/// Their superblocks are shared, or read-only is a matter of the mount alone.
fn is_virtual(kind: &str) -> bool {
    matches!(kind, "tmpfs" | "proc" | "sysfs" | "mqueue" | "devpts" | "cgroup" | "cgroup2")
}

/// The kernel's log of the context: lines of "e subject: text".
fn words(context: &OwnedFd) -> Option<String> {
    let mut buffer = [0; 512];
    let count = nix::unistd::read(context, &mut buffer).ok()?;
    let line = std::str::from_utf8(buffer.get(..count)?).ok()?;
    let line = line.trim_end().strip_prefix("e ").unwrap_or(line);
    (!line.is_empty()).then(|| line.to_owned())
}
