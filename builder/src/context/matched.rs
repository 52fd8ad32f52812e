//! What the patterns of a COPY find in a tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, fstat, fstatat};

use super::tree::Tree;
use crate::dockerfile::glob::Glob;
use crate::error::{Error, Kind};
use crate::sys::root;

/// An object that a source names.
#[derive(Debug)]
pub struct Match {
    /// Where it is in the tree, without a slash in front.
    pub path: PathBuf,
    /// It, links followed.
    pub object: OwnedFd,
    /// What it is.
    pub stat: FileStat,
    /// The directories above it that are copied with it, from the outermost.
    pub above: Vec<(PathBuf, FileStat)>,
}

/// What becomes of the directories above an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// `--parents`: they are copied too, and `**` stands for any number of them.
    Kept,
    /// Only the object itself.
    Dropped,
}

impl Parents {
    /// As the flag says.
    #[must_use]
    pub fn of(flag: bool) -> Self {
        if flag { Self::Kept } else { Self::Dropped }
    }
}

impl Match {
    /// Whether its content is copied rather than itself.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.stat.st_mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// To what the patterns of `--exclude` are relative: the directory that is copied, or the tree where parents are kept.
    #[must_use]
    pub(crate) fn excluded_from(&self, parents: Parents) -> &Path {
        match parents {
            Parents::Kept => Path::new(""),
            Parents::Dropped if self.is_directory() => &self.path,
            Parents::Dropped => self.path.parent().unwrap_or(Path::new("")),
        }
    }
}

/// What `pattern` names in the tree, sorted by path.
///
/// # Errors
/// Nothing there: a source that is not found is a mistake, with wildcards too.
pub fn find(tree: &Tree, pattern: &str, parents: Parents) -> Result<Vec<Match>, Error> {
    let missing = || {
        let failed =
            Error::new(Kind::Invalid, format!("copy {pattern}: no such file in what is copied from"));
        match tree.hides(Path::new(pattern)) {
            true => failed.hint("an ignore file excludes it"),
            false => failed,
        }
    };
    let Some(root) = tree.root() else { return Err(missing()) };
    let doing = |error| Error::system(format!("copy {pattern}"), error);
    let components: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if !components.iter().any(|part| is_pattern(part)) {
        let path: PathBuf = components.iter().collect();
        return match open(root, &path, parents).map_err(doing)? {
            Some(found) if !is_hidden(tree, &path, &found.stat) => Ok(vec![found]),
            _ => Err(missing()),
        };
    }
    let mut found = Vec::new();
    let mut paths = BTreeSet::new();
    expand(root, (Path::new(""), &components), parents, &mut paths).map_err(doing)?;
    for path in paths {
        if let Some(object) = open(root, &path, parents).map_err(doing)?
            && !is_hidden(tree, &path, &object.stat)
        {
            found.push(object);
        }
    }
    if found.is_empty() { Err(missing()) } else { Ok(found) }
}

/// A hidden directory whose content may be visible is still copied: as far as it is visible.
fn is_hidden(tree: &Tree, path: &Path, stat: &FileStat) -> bool {
    let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    tree.hides(path) && !(directory && tree.may_show_below(path))
}

fn open(root: BorrowedFd<'_>, path: &Path, parents: Parents) -> io::Result<Option<Match>> {
    let at = Path::new("/").join(path);
    match root::open(root, &at, OFlag::O_PATH) {
        Ok(object) => {
            let stat = fstat(&object)?;
            let above = match parents {
                Parents::Kept => directories_above(root, path)?,
                Parents::Dropped => Vec::new(),
            };
            Ok(Some(Match { path: path.to_owned(), object, stat, above }))
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// From the outermost, the root itself left out.
fn directories_above(root: BorrowedFd<'_>, path: &Path) -> io::Result<Vec<(PathBuf, FileStat)>> {
    let mut above = Vec::new();
    for directory in path.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty()) {
        let opened = root::open(root, &Path::new("/").join(directory), OFlag::O_PATH)?;
        above.push((directory.to_owned(), fstat(&opened)?));
    }
    above.reverse();
    Ok(above)
}

/// Whether the component has anything but ordinary letters.
fn is_pattern(component: &str) -> bool {
    component.contains(['*', '?', '[', '\\'])
}

fn expand(
    root: BorrowedFd<'_>,
    (below, components): (&Path, &[&str]),
    parents: Parents,
    found: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    let Some((first, rest)) = components.split_first() else {
        found.insert(below.to_owned());
        return Ok(());
    };
    if !is_pattern(first) {
        return expand(root, (&below.join(first), rest), parents, found);
    }
    root::check_depth(below)?;
    let at = Path::new("/").join(below);
    let directory = match root::open(root, &at, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        other => other?,
    };
    let names = root::names(directory.as_fd())?;
    if *first == "**" && parents == Parents::Kept {
        if !rest.is_empty() {
            expand(root, (below, rest), parents, found)?;
        }
        for name in names {
            if rest.is_empty() {
                found.insert(below.join(&name));
            }
            // A link may lead back up.
            if is_real_directory(&directory, &name)? {
                expand(root, (&below.join(&name), components), parents, found)?;
            }
        }
        return Ok(());
    }
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let pattern = Glob::parse(first).map_err(invalid)?;
    for name in names.iter().filter(|name| pattern.matches(&name.to_string_lossy())) {
        expand(root, (&below.join(name), rest), parents, found)?;
    }
    Ok(())
}

fn is_real_directory(directory: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}
