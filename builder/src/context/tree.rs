//! A tree of files to copy from.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::dockerfile::ignore::Ignore;
use crate::error::Error;
use crate::snapshot::View;
use crate::sys::root;

/// A build context, a named context, or the file system of a node.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    /// What of it is not there for steps.
    ignored: Option<Ignore>,
    /// Whom its files belong to once they are copied.
    pub(crate) owner: Owner,
}

#[derive(Debug)]
enum Root {
    Directory(OwnedFd),
    View(View),
}

/// Whom copied files belong to, unless the step says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Root, whoever had them: they come from a user's directory.
    Root,
    /// Whoever has them: they come from an image.
    Same,
}

impl Tree {
    /// A directory of this machine, without what `ignored` excludes.
    ///
    /// # Errors
    /// The file system's.
    pub fn directory(path: &Path, ignored: Option<Ignore>) -> Result<Self, Error> {
        let root = root::open_dir(path)
            .map_err(|error| Error::system(format!("open the context {}", path.display()), error))?;
        Ok(Self { root: Root::Directory(root), ignored, owner: Owner::Root })
    }

    /// The file system of a node.
    #[must_use]
    pub fn view(view: View) -> Self {
        Self { root: Root::View(view), ignored: None, owner: Owner::Same }
    }

    /// Its root; `None` when it has no files at all.
    #[must_use]
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        match &self.root {
            Root::Directory(directory) => Some(directory.as_fd()),
            Root::View(view) => view.root(),
        }
    }

    /// Whether steps do not see this path, relative to the root.
    pub(crate) fn hides(&self, path: &Path) -> bool {
        self.ignored.as_ref().is_some_and(|ignore| ignore.excludes(&path.to_string_lossy()))
    }

    /// Whether there is anything that steps do not see.
    pub(crate) fn hides_anything(&self) -> bool {
        self.ignored.is_some()
    }

    /// Removes what steps do not see from a writable copy of the directory `below`.
    pub(crate) fn erase_hidden(&self, below: &Path, copy: BorrowedFd<'_>) -> Result<(), Error> {
        let below = below.strip_prefix("/").unwrap_or(below);
        match &self.ignored {
            Some(_) => self.erase(below, copy).map(drop).map_err(|error| {
                Error::system(format!("leave out what {} may not show", below.display()), error)
            }),
            None => Ok(()),
        }
    }

    /// Whether anything is left.
    fn erase(&self, path: &Path, directory: BorrowedFd<'_>) -> io::Result<bool> {
        root::check_depth(path)?;
        let mut left = false;
        for name in root::names(directory)? {
            let at = path.join(&name);
            if !self.hides(&at) {
                left = true;
            }
            let inside = match root::open_child(directory, &name, OFlag::O_PATH | OFlag::O_DIRECTORY) {
                Ok(inside) if self.may_show_below(&at) => self.erase(&at, inside.as_fd())?,
                _ => false,
            };
            left |= inside;
            if self.hides(&at) && !inside {
                root::remove(directory, &name)?;
            }
        }
        Ok(left)
    }

    /// Whether something below a hidden directory may be visible again.
    pub(crate) fn may_show_below(&self, path: &Path) -> bool {
        self.ignored.as_ref().is_none_or(|ignore| ignore.may_see_below(&path.to_string_lossy()))
    }
}
