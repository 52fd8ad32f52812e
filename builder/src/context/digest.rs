//! What files are, by content.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, fstatat};

use super::matched::Match;
use super::tree::{Owner, Tree};
use crate::dockerfile::ignore::Ignore;
use crate::error::Error;
use crate::store::{Digest, Hasher};
use crate::sys::{proc_path, root};

/// The digest of what `found` brings along, without what `excludes` leaves out.
///
/// # Errors
/// The file system's.
pub fn digest(tree: &Tree, found: &[Match], excludes: Option<&Ignore>) -> Result<Digest, Error> {
    let mut feed = Feed { hasher: Hasher::new(), tree, excludes };
    for matched in found {
        let doing = |error| Error::system(format!("read {}", matched.path.display()), error);
        if matched.is_directory() {
            feed.head(&matched.path, &matched.stat);
            feed.directory(&matched.object, &matched.path).map_err(doing)?;
        } else {
            feed.head(&matched.path, &matched.stat);
            feed.content(&matched.object, &matched.stat).map_err(doing)?;
        }
    }
    Ok(feed.hasher.finish())
}

struct Feed<'a> {
    hasher: Hasher,
    tree: &'a Tree,
    excludes: Option<&'a Ignore>,
}

impl Feed<'_> {
    /// Path, kind, mode and owner; lengths in front, so that no two trees read the same.
    fn head(&mut self, path: &Path, stat: &FileStat) {
        let (uid, gid) = match self.tree.owner {
            Owner::Root => (0, 0),
            Owner::Same => (stat.st_uid, stat.st_gid),
        };
        let path = path.as_os_str().as_bytes();
        self.hasher.update(format!("{} ", path.len()).as_bytes());
        self.hasher.update(path);
        self.hasher.update(format!(" {:o} {uid}:{gid} ", stat.st_mode).as_bytes());
    }

    fn directory(&mut self, directory: &OwnedFd, path: &Path) -> io::Result<()> {
        for name in root::names(directory)? {
            let at = path.join(&name);
            let stat = fstatat(directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            let hidden = self.tree.hides(&at);
            if hidden && !(is_directory && self.tree.may_show_below(&at)) {
                continue;
            }
            let text = at.to_string_lossy();
            let excluded = self.excludes.is_some_and(|ignore| ignore.excludes(&text));
            let visible_below = || self.excludes.is_some_and(|ignore| ignore.may_see_below(&text));
            if excluded && !(is_directory && visible_below()) {
                continue;
            }
            if !hidden && !excluded {
                self.head(&at, &stat);
            }
            match stat.st_mode & libc::S_IFMT {
                libc::S_IFDIR => {
                    let inside = root::open_child(directory, &name, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                    self.directory(&inside, &at)?;
                }
                libc::S_IFLNK => {
                    let target = readlinkat(directory, name.as_os_str())?;
                    self.hasher.update(format!("{} ", target.len()).as_bytes());
                    self.hasher.update(target.as_bytes());
                }
                libc::S_IFREG => {
                    let file = root::open_child(directory, &name, OFlag::O_RDONLY)?;
                    self.bytes(File::from(file))?;
                }
                _ => self.hasher.update(format!("{} ", stat.st_rdev).as_bytes()),
            }
        }
        Ok(())
    }

    fn content(&mut self, object: &OwnedFd, stat: &FileStat) -> io::Result<()> {
        match stat.st_mode & libc::S_IFMT {
            // Opened again through the descriptor: the same object, whatever happened to its name.
            libc::S_IFREG => self.bytes(File::open(proc_path(object.as_fd()))?),
            _ => {
                self.hasher.update(format!("{} ", stat.st_rdev).as_bytes());
                Ok(())
            }
        }
    }

    fn bytes(&mut self, mut file: File) -> io::Result<()> {
        self.hasher.update(format!("{} ", file.metadata()?.len()).as_bytes());
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(buffer.get(..count).unwrap_or_default());
        }
    }
}
