//! COPY and ADD: from trees into the draft.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::FileStat;

use super::Hands;
use super::place::{Placing, Rules};
use crate::bundle::resolve_owner;
use crate::context::{self, Match, Parents, Tree};
use crate::dockerfile::ignore::Ignore;
use crate::error::{Error, Kind};
use crate::graph::{Copy, DestKind, Inline, Source, Unpack};
use crate::snapshot::Draft;
use crate::sys::root;
use crate::sys::userns::{self, Owners};

pub(super) fn copy(copy: &Copy, time: Option<i64>, draft: &Draft, hands: &Hands<'_>) -> Result<(), Error> {
    let view = draft.view()?;
    let at = view.root().ok_or_else(|| Error::new(Kind::System, "the step has no file system"))?;
    let owner = copy.chown.as_deref().map(|owner| resolve_owner(at, owner)).transpose()?;
    let excludes = match copy.excludes.as_slice() {
        [] => None,
        patterns => Some(
            Ignore::from_patterns(patterns.iter().map(String::as_str))
                .map_err(|why| Error::new(Kind::Invalid, format!("--exclude: {why}")))?,
        ),
    };
    let rules = Rules { owner, chmod: copy.chmod.as_deref(), time, excludes: excludes.as_ref() };
    for source in &copy.sources {
        match source {
            Source::Files { from, pattern } => {
                let tree = (hands.tree)(from)?;
                for found in context::find(&tree, pattern, Parents::of(copy.parents))? {
                    lay(copy, at, (&tree, &rules), (pattern, &found))?;
                }
            }
            Source::Inline(inline) => lay_inline(copy, at, &rules, inline)?,
            Source::Http { .. } | Source::Git(_) => {
                let (tree, pattern) = (hands.fetch)(source)?;
                let copy = as_fetched(copy);
                for found in context::find(&tree, &pattern, Parents::of(copy.parents))? {
                    lay(&copy, at, (&tree, &rules), (&pattern, &found))?;
                }
            }
        }
    }
    Ok(())
}

/// A download is taken as it is, unless the flag says otherwise.
fn as_fetched(copy: &Copy) -> Copy {
    let unpack = if copy.unpack == Unpack::Always { Unpack::Always } else { Unpack::Never };
    Copy { unpack, ..copy.clone() }
}

/// Puts one found object where it belongs.
fn lay(
    copy: &Copy,
    at: BorrowedFd<'_>,
    (tree, rules): (&Tree, &Rules<'_>),
    (pattern, found): (&str, &Match),
) -> Result<(), Error> {
    let doing = |error| failed(format!("copy {} to {}", found.path.display(), copy.dest), error);
    let base = found.excluded_from(Parents::of(copy.parents));
    let mut placing = Placing::new(tree, rules, base);
    if placing.is_excluded(&found.path) && !found.is_directory() {
        return Ok(());
    }
    let dest = match copy.parents {
        true => Path::new(&copy.dest).join(kept_parents(pattern, &found.path)),
        false => PathBuf::from(&copy.dest),
    };
    let above = found.above.iter().skip(before_mark(pattern));
    let mut kept: Vec<&FileStat> = above.map(|(_, stat)| stat).collect();
    if found.is_directory() {
        // Its content is copied, so the directory is not like the source itself unless parents are kept.
        kept.extend(copy.parents.then_some(&found.stat));
        let into = placing.directory_at(at, &dest, &kept).map_err(doing)?;
        return placing.content(&found.object, &found.path, &into).map_err(doing);
    }
    if copy.unpack != Unpack::Never && placing.unpack((at, &dest), found, copy.unpack)? {
        return Ok(());
    }
    let own_name = found.path.file_name().map(OsStr::to_owned).unwrap_or_default();
    let (directory, name) = target(copy, at, &dest, own_name);
    let directory = placing.directory_at(at, &directory, &kept).map_err(doing)?;
    placing.file(found, &directory, &name).map_err(doing)
}

/// An owner that the namespace has no id for is EINVAL to the kernel.
fn failed(doing: String, error: std::io::Error) -> Error {
    let errno = error.raw_os_error();
    let failed = Error::system(doing, error);
    match errno {
        Some(libc::EINVAL) if userns::owners() == Owners::Squashed => failed.hint(
            "this user has one id only: install uidmap and have ranges in /etc/subuid and /etc/subgid for other owners",
        ),
        _ => failed,
    }
}

/// The directory and the name that a single file gets.
fn target(copy: &Copy, at: BorrowedFd<'_>, dest: &Path, own_name: OsString) -> (PathBuf, OsString) {
    let is_directory = || root::open(at, dest, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok();
    match (dest.parent(), dest.file_name()) {
        (Some(_), Some(_)) if copy.dest_kind == DestKind::AsFound && !copy.parents && !is_directory() => {
            followed(at, dest)
        }
        // With kept parents the object's own path is part of `dest` already.
        (Some(parent), Some(name)) if copy.parents => (parent.to_owned(), name.to_owned()),
        _ => (dest.to_owned(), own_name),
    }
}

/// Where a destination that is a link leads to: the file there is written, the link stays.
fn followed(at: BorrowedFd<'_>, dest: &Path) -> (PathBuf, OsString) {
    let mut path = dest.to_owned();
    // As many links as the kernel follows.
    for _ in 0..40 {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
        let target = root::open(at, parent, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .and_then(|directory| Ok(readlinkat(directory, name)?));
        match target {
            Ok(target) => path = parent.join(target),
            Err(_) => return (parent.to_owned(), name.to_owned()),
        }
    }
    (dest.parent().unwrap_or(Path::new("/")).to_owned(), dest.file_name().unwrap_or_default().to_owned())
}

/// What `--parents` keeps of a path: all of it, or what comes after the `/./` of the pattern.
fn kept_parents(pattern: &str, path: &Path) -> PathBuf {
    path.components().skip(before_mark(pattern)).collect()
}

/// How many components stand before the `/./` of a pattern.
fn before_mark(pattern: &str) -> usize {
    let before = pattern.split_once("/./").map_or("", |(before, _)| before);
    Path::new(before).components().filter(|part| matches!(part, Component::Normal(_))).count()
}

fn lay_inline(copy: &Copy, at: BorrowedFd<'_>, rules: &Rules<'_>, inline: &Inline) -> Result<(), Error> {
    let doing = |error| failed(format!("write {} to {}", inline.name, copy.dest), error);
    let (directory, name) = target(copy, at, Path::new(&copy.dest), OsString::from(&inline.name));
    let directory: OwnedFd =
        root::make_dirs(at, &directory, |parent, name, _| rules.own((parent, name))).map_err(doing)?;
    rules.inline(&directory, &name, inline.content.as_bytes()).map_err(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_parents_begin_at_the_mark() {
        for (pattern, path, expected) in
            [("a/b/c", "a/b/c", "a/b/c"), ("a/./b/c", "a/b/c", "b/c"), ("a/*/./c", "a/x/c", "c")]
        {
            assert_eq!(kept_parents(pattern, Path::new(path)), Path::new(expected), "{pattern}");
        }
    }
}
