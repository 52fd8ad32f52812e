//! What files are, by content.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, fstatat};

use super::matched::{Match, Parents};
use super::tree::{Owner, Tree};
use crate::dockerfile::ignore::Ignore;
use crate::error::Error;
use crate::store::{Digest, Hasher};
use crate::sys::{proc_path, root, xattr};

/// Some files, by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The digest of all of them.
    pub digest: Digest,
    /// The digest of each: its kind, mode, owner, attributes and bytes.
    pub objects: Vec<(PathBuf, Digest)>,
}

/// What `found` brings along, without what `excludes` leaves out. Times count where files keep theirs, that is in an image, and
/// as far as the image that is built keeps them: none later than `latest`.
///
/// # Errors
/// The file system's.
pub fn content(
    tree: &Tree,
    (found, parents): (&[Match], Parents),
    (excludes, latest): (Option<&Ignore>, Option<i64>),
) -> Result<Content, Error> {
    let mut feed = Feed { objects: Vec::new(), tree, excludes, base: PathBuf::new(), latest };
    for matched in found {
        matched.excluded_from(parents).clone_into(&mut feed.base);
        for (path, stat) in &matched.above {
            feed.objects.push((path.clone(), feed.head(stat).finish()));
        }
        let doing = |error| Error::system(format!("read {}", matched.path.display()), error);
        let mut hasher = feed.head(&matched.stat);
        if !matched.is_directory() {
            of_object(&mut hasher, &matched.object, &matched.stat).map_err(doing)?;
        }
        feed.objects.push((matched.path.clone(), hasher.finish()));
        if matched.is_directory() {
            feed.directory(&matched.object, &matched.path).map_err(doing)?;
        }
    }
    let mut whole = Hasher::new();
    for (path, digest) in &feed.objects {
        // Lengths in front, so that no two lists read the same.
        let path = path.as_os_str().as_bytes();
        whole.update(format!("{} ", path.len()).as_bytes());
        whole.update(path);
        whole.update(digest.as_str().as_bytes());
    }
    Ok(Content { digest: whole.finish(), objects: feed.objects })
}

struct Feed<'a> {
    objects: Vec<(PathBuf, Digest)>,
    tree: &'a Tree,
    excludes: Option<&'a Ignore>,
    /// Where the patterns of `excludes` begin.
    base: PathBuf,
    latest: Option<i64>,
}

impl Feed<'_> {
    /// Kind, mode, owner, and the time where it counts.
    fn head(&self, stat: &FileStat) -> Hasher {
        let (uid, gid) = match self.tree.owner {
            Owner::Root => (0, 0),
            Owner::Same => (stat.st_uid, stat.st_gid),
        };
        let mut hasher = Hasher::new();
        hasher.update(format!("{:o} {uid}:{gid} ", stat.st_mode).as_bytes());
        if let (Owner::Same, Some(latest)) = (self.tree.owner, self.latest) {
            hasher.update(format!("{} ", stat.st_mtime.min(latest)).as_bytes());
        }
        hasher
    }

    fn directory(&mut self, directory: &OwnedFd, path: &Path) -> io::Result<()> {
        for name in root::names(directory)? {
            let at = path.join(&name);
            let stat = fstatat(directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            let text = at.strip_prefix(&self.base).unwrap_or(&at).to_string_lossy().into_owned();
            let excluded = self.excludes.is_some_and(|ignore| ignore.excludes(&text));
            let left_out = excluded || self.tree.hides(&at);
            let may_show_below = || {
                self.tree.may_show_below(&at)
                    && self.excludes.is_none_or(|ignore| ignore.may_see_below(&text))
            };
            if left_out && !(is_directory && may_show_below()) {
                continue;
            }
            if !left_out {
                let mut hasher = self.head(&stat);
                of_child(&mut hasher, (directory, &name), (&stat, self.tree.owner))?;
                self.objects.push((at.clone(), hasher.finish()));
            }
            if is_directory {
                let inside = root::open_child(directory, &name, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                self.directory(&inside, &at)?;
            }
        }
        Ok(())
    }
}

fn of_child(
    hasher: &mut Hasher,
    (at, name): (&OwnedFd, &std::ffi::OsStr),
    (stat, owner): (&FileStat, Owner),
) -> io::Result<()> {
    let mut attributes = xattr::list(at, name)?;
    // Those that are copied: an overlay's own are not, and capabilities only come from images.
    attributes.retain(|(key, _)| {
        let key = key.as_bytes();
        (key.starts_with(b"user.") && !key.starts_with(b"user.overlay."))
            || (key == b"security.capability" && owner == Owner::Same)
    });
    // Their number in front, so that content cannot pass for one.
    hasher.update(format!("{} ", attributes.len()).as_bytes());
    for (key, value) in &attributes {
        hasher.update(format!("{} {} ", key.len(), value.len()).as_bytes());
        hasher.update(key.as_bytes());
        hasher.update(value);
    }
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {}
        libc::S_IFLNK => hasher.update(readlinkat(at, name)?.as_bytes()),
        libc::S_IFREG => bytes(hasher, File::from(root::open_child(at, name, READ)?))?,
        _ => hasher.update(format!("{} ", stat.st_rdev).as_bytes()),
    }
    Ok(())
}

/// O_NONBLOCK: another process may have put a FIFO in the file's place, which would hang.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK);

fn of_object(hasher: &mut Hasher, object: &OwnedFd, stat: &FileStat) -> io::Result<()> {
    match stat.st_mode & libc::S_IFMT {
        // Opened again through the descriptor: the same object, whatever happened to its name.
        libc::S_IFREG => bytes(hasher, File::open(proc_path(object.as_fd()))?),
        _ => {
            hasher.update(format!("{} ", stat.st_rdev).as_bytes());
            Ok(())
        }
    }
}

fn bytes(hasher: &mut Hasher, mut file: File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::context::find;

    #[test]
    fn an_attribute_is_not_taken_for_content() {
        let digest = |content: &str, attribute: Option<&str>| {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir(place.path().join("d")).unwrap();
            fs::write(place.path().join("d/f"), content).unwrap();
            let set = attribute.map(|value| {
                let directory = root::open_dir(&place.path().join("d")).unwrap();
                xattr::set(&directory, "f".as_ref(), "user.k".as_ref(), value.as_bytes())
            });
            let tree = Tree::directory(place.path(), None).unwrap();
            let found = find(&tree, "d", Parents::Dropped).unwrap();
            let content = super::content(&tree, (&found, Parents::Dropped), (None, None));
            (set.is_none_or(|set| set.is_ok()), content.unwrap().digest)
        };
        let (has_attributes, with) = digest("rest", Some("v"));
        if has_attributes {
            assert_ne!(with, digest("6 1 user.kvrest", None).1);
            assert_ne!(with, digest("rest", None).1);
        }
    }
}
