//! Unpacking a layer into a directory: what each member becomes.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use super::archive::{Archive, Kind as MemberKind, Member};
use super::node::{self, Attributes};
use super::tree::{self, Tree};
use super::whiteout::{self, Hide, Seen};
use super::{Compression, stream};
use crate::error::{Error, Kind};
use crate::store::Digest;
use crate::sys::userns::Owners;
use crate::sys::{overlay, root};

/// How a layer is laid down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpack {
    /// To whom the files belong.
    pub owners: Ownership,
    /// What deletions become.
    pub whiteouts: Whiteouts,
}

/// To whom unpacked files belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// To those that the archive names.
    Named,
    /// To whoever unpacks.
    Own,
    /// To this uid and gid.
    Fixed(u32, u32),
}

impl Ownership {
    /// Those of the archive, as far as the user namespace has them.
    #[must_use]
    pub fn of_archive(owners: Owners) -> Self {
        match owners {
            Owners::Kept => Self::Named,
            Owners::Squashed => Self::Own,
        }
    }
}

/// What a layer's deletions of lower files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// An overlay's marks: the directory is a lower directory of a mount.
    Overlay(overlay::Attributes),
    /// Deletions, carried out: the directory holds the lower layers already.
    Applied,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// What was left out, as lines for people: devices that this user may not make, attributes that do not fit.
    pub notes: Vec<String>,
}

/// Unpacks the layer `blob` into the directory `into`, and nowhere else. The caller compares the diff id.
///
/// # Errors
/// `Attack` where a member leads out of the directory or its numbers are not what files can have; `Invalid` where
/// the archive or its compression is damaged; `System` where the file system refused.
pub fn unpack(
    blob: impl Read + Send,
    compression: Compression,
    into: BorrowedFd<'_>,
    options: &Unpack,
) -> Result<Unpacked, Error> {
    let consume = |chunks| {
        let mut unpacker = Unpacker::new(into, *options);
        Ok(unpacker.run(Archive::new(chunks)).map(|()| unpacker.notes))
    };
    let (result, diff_id) = stream::decompress(blob, compression, consume)
        .map_err(|error| Error::system("unpack a layer", error))?;
    Ok(Unpacked { diff_id, notes: result?.lines() })
}

/// Things left out: the first few by name, then a count.
#[derive(Default)]
pub(super) struct Notes {
    named: Vec<String>,
    more: usize,
}

impl Notes {
    pub(super) fn push(&mut self, line: String) {
        if self.named.len() < 20 { self.named.push(line) } else { self.more += 1 }
    }

    fn lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.named.push(format!("and {} more", self.more));
        }
        self.named
    }
}

struct Unpacker<'a> {
    tree: Tree<'a>,
    options: Unpack,
    seen: Seen,
    /// Directories, whose times and modes are set when nothing more is put into them.
    directories: Vec<(Vec<OsString>, Attributes)>,
    notes: Notes,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    fn new(into: BorrowedFd<'a>, options: Unpack) -> Self {
        Self {
            tree: Tree::new(into),
            options,
            seen: Seen::new(options.whiteouts),
            directories: Vec::new(),
            notes: Notes::default(),
            buffer: vec![0; 128 << 10],
        }
    }

    fn run<R: Read>(&mut self, mut archive: Archive<R>) -> Result<(), Error> {
        while let Some(member) = archive.next().map_err(|error| damaged(&error))? {
            let name = root::beginning(&member.path);
            let doing = |error: Error| error.during(&format!("unpack \"{}\"", name.escape_debug()));
            self.member(&member, &mut archive).map_err(doing)?;
        }
        archive.drain().map_err(|error| damaged(&error))?;
        self.finish_directories()
            .map_err(|error| Error::system("unpack a layer: set times of directories", error))
    }

    fn member<R: Read>(&mut self, member: &Member, archive: &mut Archive<R>) -> Result<(), Error> {
        let mut path = tree::components(&member.path, "it")?;
        let attributes = Attributes::of(member, self.options.owners)?;
        let Some(name) = path.last().cloned() else { return self.top(member, attributes) };
        match whiteout::hides(&name)? {
            Some(Hide::Nothing) => return Ok(()),
            Some(Hide::Below) => {
                path.pop();
                return self.hide_below(&path);
            }
            Some(Hide::Name(hidden)) => {
                path.pop();
                path.push(hidden);
                return self.hide(&path);
            }
            None => {}
        }
        self.seen.insert(&path);
        let target = match &member.kind {
            MemberKind::HardLink(target) => Some(self.link_target(target)?),
            _ => None,
        };
        let parent = self.tree.parent(&path).map_err(system)?;
        let place = node::Place { at: &parent, name: &name };
        match (&member.kind, target) {
            (_, Some((at, target))) => node::link(&place, at, &target).map_err(system)?,
            (MemberKind::Directory, _) => {
                node::make_directory(&place, self.options.whiteouts).map_err(system)?;
                node::set_xattrs(&place, member, &mut self.notes);
                self.directories.push((path, attributes));
            }
            (MemberKind::File { size, segments }, _) => {
                let file = node::make_file(&place).map_err(system)?;
                node::fill(&file, archive, (*size, segments), &mut self.buffer)
                    .map_err(|error| content(&error))?;
                node::set_file(&file, &attributes).map_err(|error| node::owner_error(error, &attributes))?;
                node::set_xattrs(&place, member, &mut self.notes);
                node::set_file_times(&file, &attributes).map_err(system)?;
            }
            (MemberKind::Symlink(target), _) => {
                node::make_symlink(&place, OsStr::from_bytes(target)).map_err(system)?;
                node::set_link(&place, &attributes).map_err(|error| node::owner_error(error, &attributes))?;
            }
            (special, _) => match node::make_special(&place, special).map_err(system)? {
                node::Made::Yes => {
                    node::set_special(&place, &attributes)
                        .map_err(|error| node::owner_error(error, &attributes))?;
                }
                node::Made::No(why) => {
                    self.notes.push(format!("left out {}: {why}", tree::joined(&path).display()))
                }
            },
        }
        Ok(())
    }

    /// A member that is the tree's root itself: only a directory can be, and it is there already.
    fn top(&mut self, member: &Member, attributes: Attributes) -> Result<(), Error> {
        if member.kind != MemberKind::Directory {
            return Err(attack("it would replace the root directory"));
        }
        self.directories.push((Vec::new(), attributes));
        Ok(())
    }

    /// Found without following a link at its end: the kernel links the link itself.
    fn link_target(&mut self, target: &[u8]) -> Result<(std::os::fd::OwnedFd, OsString), Error> {
        let path = tree::components(target, "its target")?;
        let Some((name, above)) = path.split_last() else {
            return Err(attack("its target leads out of the directory"));
        };
        if whiteout::hides(name)?.is_some() {
            return Err(attack("its target is a whiteout"));
        }
        let parent = root::open(
            self.tree.root(),
            &tree::joined(above),
            nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY,
        );
        Ok((parent.map_err(system)?, name.clone()))
    }

    fn hide(&mut self, path: &[OsString]) -> Result<(), Error> {
        let Some(name) = path.last() else { return Err(attack("it would delete the root directory")) };
        let in_this_layer = self.seen.contains(path);
        let parent = self.tree.parent(path).map_err(system)?;
        let place = node::Place { at: &parent, name };
        match self.options.whiteouts {
            Whiteouts::Overlay(attributes) => whiteout::mark(&place, attributes).map_err(system),
            Whiteouts::Applied if in_this_layer => Ok(()),
            Whiteouts::Applied => root::remove(&parent, name).map_err(system),
        }
    }

    fn hide_below(&mut self, path: &[OsString]) -> Result<(), Error> {
        let inside: Vec<OsString> = path.iter().cloned().chain([OsString::from(".")]).collect();
        let parent = self.tree.parent(&inside).map_err(system)?;
        match self.options.whiteouts {
            Whiteouts::Overlay(attributes) => {
                whiteout::mark_opaque(&parent, OsStr::new("."), attributes).map_err(system)
            }
            Whiteouts::Applied => whiteout::clear(&parent, path, &self.seen).map_err(system),
        }
    }

    /// Deepest last would do as well: nothing is created any more. A directory that a later member replaced is skipped.
    fn finish_directories(&mut self) -> io::Result<()> {
        for (path, attributes) in std::mem::take(&mut self.directories) {
            node::set_directory(self.tree.root(), &tree::joined(&path), &attributes)?;
        }
        Ok(())
    }
}

fn damaged(error: &io::Error) -> Error {
    Error::new(Kind::Invalid, format!("unpack a layer: {error}"))
}

/// Reading the content and writing it fail in one place: the reader's errors have no errno.
fn content(error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(number) => system(io::Error::from_raw_os_error(number)),
        None => Error::new(Kind::Invalid, error.to_string()),
    }
}

fn system(error: io::Error) -> Error {
    Error::system("write it", error)
}

fn attack(why: &str) -> Error {
    Error::new(Kind::Attack, why)
}
