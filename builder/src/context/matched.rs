//! What the patterns of a COPY find in a tree.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};

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
}

impl Match {
    /// Whether its content is copied rather than itself.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.stat.st_mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// What `pattern` names in the tree, sorted by path.
///
/// # Errors
/// Nothing there: a source that is not found is a mistake, with wildcards too.
pub fn find(tree: &Tree, pattern: &str) -> Result<Vec<Match>, Error> {
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
        return match open(root, &path).map_err(doing)? {
            Some(found) if !is_hidden(tree, &path, &found.stat) => Ok(vec![found]),
            _ => Err(missing()),
        };
    }
    let mut found = Vec::new();
    expand(root, (Path::new(""), &components), &mut |path| {
        if let Some(object) = open(root, &path)?
            && !is_hidden(tree, &path, &object.stat)
        {
            found.push(object);
        }
        Ok(())
    })
    .map_err(doing)?;
    if found.is_empty() { Err(missing()) } else { Ok(found) }
}

/// A hidden directory whose content may be visible is still copied: as far as it is visible.
fn is_hidden(tree: &Tree, path: &Path, stat: &FileStat) -> bool {
    let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    tree.hides(path) && !(directory && tree.may_show_below(path))
}

fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<Match>> {
    let at = Path::new("/").join(path);
    match root::open(root, &at, OFlag::O_PATH) {
        Ok(object) => {
            let stat = fstat(&object)?;
            Ok(Some(Match { path: path.to_owned(), object, stat }))
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the component has anything but ordinary letters.
fn is_pattern(component: &str) -> bool {
    component.contains(['*', '?', '[', '\\'])
}

fn expand(
    root: BorrowedFd<'_>,
    (below, components): (&Path, &[&str]),
    found: &mut dyn FnMut(PathBuf) -> io::Result<()>,
) -> io::Result<()> {
    let Some((first, rest)) = components.split_first() else { return found(below.to_owned()) };
    if !is_pattern(first) {
        return expand(root, (&below.join(first), rest), found);
    }
    let at = Path::new("/").join(below);
    let directory = match root::open(root, &at, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        other => other?,
    };
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let pattern = Glob::parse(first).map_err(invalid)?;
    for name in root::names(directory.as_fd())?.iter().filter(|name| pattern.matches(&name.to_string_lossy()))
    {
        expand(root, (&below.join(name), rest), found)?;
    }
    Ok(())
}
