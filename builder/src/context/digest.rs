//! What files are, by content.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, fstatat};

use super::crew::{Crew, Regular};
use super::known::Known;
use super::matched::{Match, Parents};
use super::tree::{Owner, Tree};
use crate::dockerfile::ignore::Ignore;
use crate::error::{Error, Kind};
use crate::store::{Digest, Hasher, Store};
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
/// as far as the image that is built keeps them: none later than `latest`. For files of the user's own, `kept` says where it is
/// written down what they were hashed to, and the pattern that found them.
///
/// # Errors
/// The file system's.
pub fn content(
    tree: &Tree,
    (found, parents): (&[Match], Parents),
    (excludes, latest): (Option<&Ignore>, Option<i64>),
    kept: Option<(&Store, &str)>,
) -> Result<Content, Error> {
    let known = kept.map_or_else(Known::nothing, |(store, pattern)| Known::of(tree, pattern, store));
    let objects = std::thread::scope(|scope| {
        let mut feed = Feed {
            objects: Vec::new(),
            crew: Crew::new(scope),
            given: Vec::new(),
            known,
            tree,
            excludes,
            base: PathBuf::new(),
            latest,
        };
        for matched in found {
            matched.excluded_from(parents).clone_into(&mut feed.base);
            feed.matched(matched)
                .map_err(|error| Error::system(format!("read {}", matched.path.display()), error))?;
        }
        feed.finish()
    })?;
    let mut whole = Hasher::new();
    for (path, digest) in &objects {
        // Lengths in front, so that no two lists read the same.
        let path = path.as_os_str().as_bytes();
        whole.update(format!("{} ", path.len()).as_bytes());
        whole.update(path);
        whole.update(digest.as_str().as_bytes());
    }
    Ok(Content { digest: whole.finish(), objects })
}

struct Feed<'a, 's, 'e> {
    /// In order; those without a digest are the crew's.
    objects: Vec<(PathBuf, Option<Digest>)>,
    crew: Crew<'s, 'e>,
    /// What the crew has that is to be remembered.
    given: Vec<Given>,
    known: Known<'a>,
    tree: &'a Tree,
    excludes: Option<&'a Ignore>,
    /// Where the patterns of `excludes` begin.
    base: PathBuf,
    latest: Option<i64>,
}

struct Given {
    slot: usize,
    stat: FileStat,
}

impl Feed<'_, '_, '_> {
    fn matched(&mut self, matched: &Match) -> io::Result<()> {
        for (path, stat) in &matched.above {
            self.objects.push((path.clone(), Some(self.head(stat).finish())));
        }
        let (path, stat) = (&matched.path, &matched.stat);
        let mut hasher = self.head(stat);
        let digest = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => Some(hasher.finish()),
            libc::S_IFREG => match self.known.find(stat) {
                Some(digest) => Some(digest),
                None => {
                    // Opened again through the descriptor: the same object, whatever happened to its name.
                    let file = File::open(proc_path(&matched.object))?;
                    attributes(&mut hasher, xattr::list_own(&file)?, self.tree.owner);
                    self.remember(&matched.object, stat);
                    self.crew.give(self.objects.len(), hasher, Regular::Object(file))?;
                    None
                }
            },
            _ => {
                hasher.update(format!("{} ", stat.st_rdev).as_bytes());
                Some(hasher.finish())
            }
        };
        self.objects.push((path.clone(), digest));
        match matched.is_directory() {
            true => self.directory(&Arc::new(matched.object.try_clone()?), path),
            false => Ok(()),
        }
    }

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

    fn directory(&mut self, directory: &Arc<OwnedFd>, path: &Path) -> io::Result<()> {
        root::check_depth(path)?;
        for name in root::names(directory)? {
            let at = path.join(&name);
            let stat = fstatat(directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            let text = at.strip_prefix(&self.base).unwrap_or(&at).to_string_lossy();
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
                let digest = self.child(directory, &name, &stat)?;
                self.objects.push((at.clone(), digest));
            }
            if is_directory {
                let inside = root::open_child(directory, &name, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
                self.directory(&Arc::new(inside), &at)?;
            }
        }
        Ok(())
    }

    /// What it is, or none where the crew finds out.
    fn child(&mut self, at: &Arc<OwnedFd>, name: &OsStr, stat: &FileStat) -> io::Result<Option<Digest>> {
        if let Some(digest) = self.known.find(stat) {
            return Ok(Some(digest));
        }
        let mut hasher = self.head(stat);
        attributes(&mut hasher, xattr::list(at, name)?, self.tree.owner);
        self.remember(at, stat);
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => {
                let file = Regular::Child(Arc::clone(at), name.to_owned());
                self.crew.give(self.objects.len(), hasher, file)?;
                return Ok(None);
            }
            libc::S_IFDIR => {}
            libc::S_IFLNK => hasher.update(readlinkat(&**at, name)?.as_bytes()),
            _ => hasher.update(format!("{} ", stat.st_rdev).as_bytes()),
        }
        Ok(Some(hasher.finish()))
    }

    /// The next object, if it may be.
    fn remember(&mut self, near: &OwnedFd, stat: &FileStat) {
        if self.known.takes(near, stat) {
            self.given.push(Given { slot: self.objects.len(), stat: *stat });
        }
    }

    fn finish(mut self) -> Result<Vec<(PathBuf, Digest)>, Error> {
        let outcomes = self.crew.finish().map_err(|error| Error::system("hash files", error))?;
        for (slot, outcome) in outcomes {
            let Some((path, digest)) = self.objects.get_mut(slot) else { continue };
            let found = outcome.map_err(|error| Error::system(format!("read {}", path.display()), error))?;
            *digest = Some(found);
        }
        for Given { slot, stat } in &self.given {
            if let Some((_, Some(digest))) = self.objects.get(*slot) {
                self.known.learn(stat, digest);
            }
        }
        self.known.save()?;
        let objects = self.objects.into_iter().map(|(path, digest)| Some((path, digest?))).collect();
        Option::ok_or_else(objects, || Error::new(Kind::System, "a file was not hashed"))
    }
}

/// Those that are copied: an overlay's own are not, and capabilities only come from images.
fn attributes(hasher: &mut Hasher, mut attributes: Vec<(OsString, Vec<u8>)>, owner: Owner) {
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
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::context::find;

    #[test]
    fn an_attribute_is_not_taken_for_content() {
        let digest = |source: &str, content: &str, attribute: Option<&str>| {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir(place.path().join("d")).unwrap();
            fs::write(place.path().join("d/f"), content).unwrap();
            let set = attribute.map(|value| {
                let directory = root::open_dir(&place.path().join("d")).unwrap();
                xattr::set(&directory, "f".as_ref(), "user.k".as_ref(), value.as_bytes())
            });
            let tree = Tree::directory(place.path(), None).unwrap();
            let found = find(&tree, source, Parents::Dropped).unwrap();
            let content = super::content(&tree, (&found, Parents::Dropped), (None, None), None);
            (set.is_none_or(|set| set.is_ok()), content.unwrap().digest)
        };
        for source in ["d", "d/f"] {
            let (has_attributes, with) = digest(source, "rest", Some("v"));
            if has_attributes {
                assert_ne!(with, digest(source, "6 1 user.kvrest", None).1, "{source}");
                assert_ne!(with, digest(source, "rest", None).1, "{source}");
            }
        }
    }
}
