//! File systems of the container's own.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::fds;
use super::mounts::{Site, directory, ordinary_directory, wrong};
use super::place::{self, Origin, Place};
use crate::error::Error;
use crate::plan::mount_options::{CopyUp, Param};
use crate::plan::mounts::{Fresh, Mode, Mount};
use crate::sys::{mount, staged};

/// Makes the file system, fills it where asked, and attaches it.
pub fn attach(planned: &Mount, wanted: &Fresh, site: &Site<'_>) -> Result<OwnedFd, Error> {
    let place = match wanted.kind.as_str() {
        kind @ ("proc" | "sysfs") => ordinary_directory(planned, kind, site)?,
        _ => directory(planned, site)?,
    };
    let params = complete(wanted, &place, site).map_err(|source| wrong(planned, source))?;
    let attrs = planned.attrs.own.set | planned.attrs.tree.set;
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
    Ok(mounted)
}

/// With what depends on the place: the mode that a tmpfs takes over from the directory that it covers.
fn complete(wanted: &Fresh, place: &Place, site: &Site<'_>) -> std::io::Result<Vec<Param>> {
    let mut params = wanted.params.clone();
    if wanted.mode == Mode::OfCovered && place.origin == Origin::Found {
        params.push(Param::Value("mode".to_owned(), format!("{:o}", place::mode(&place.fd)?)));
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
