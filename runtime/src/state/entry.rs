//! One container's directory, held open.

use std::fs::{File, Metadata, TryLockError};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::STATE;
use super::record::{Head, Intent, Record, VERSION};
use super::root::open_dir;
use crate::error::{Error, Kind};

/// A container's directory; the lock on it, once taken, is held until `unlock` or the end of the process.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    dir: File,
}

/// State beside which a new version is written.
const NEW: &str = "state.json.new";
const MOST: usize = 64 << 20;
const PIECE: usize = 8 << 10;

impl Entry {
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let dir = File::from(open_dir(&path)?);
        Ok(Self { path, dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Waits until no other command creates, starts or deletes this container. Whoever had the lock may have removed it: see `is_there`.
    pub fn lock(&self) -> Result<(), Error> {
        self.dir.lock().map_err(|source| Error::system(format!("lock {}", self.path.display()), source))
    }

    /// The same without waiting: whether it is ours now.
    pub(super) fn try_lock(&self) -> Result<bool, Error> {
        match self.dir.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => {
                Err(Error::system(format!("lock {}", self.path.display()), source))
            }
        }
    }

    /// Whether the name is this container's still, and not free or another's. True for as long as the lock is held, once it was.
    pub fn is_there(&self) -> bool {
        let same = |named: &Metadata, held: &Metadata| (named.dev(), named.ino()) == (held.dev(), held.ino());
        matches!((std::fs::symlink_metadata(&self.path), self.dir.metadata()), (Ok(named), Ok(held)) if same(&named, &held))
    }

    /// Lets others in. The lock belongs to the open file and would otherwise live on in a clone that kept it.
    pub fn unlock(&self) {
        drop(self.dir.unlock());
    }

    /// Writes the record down under another name, so that a reader sees the intent or the record, whole. `config` is the bundle's text.
    pub fn draft(&self, record: &Record, config: &str) -> Result<(), Error> {
        self.write(NEW, OFlag::O_TRUNC, &text_of(&Head::Record(record.clone()), config)?)
    }

    /// Puts what was drafted in the intent's place: from now on the container exists for every other command.
    pub fn publish(&self) -> Result<(), Error> {
        renameat(&self.dir, NEW, &self.dir, STATE).map_err(|errno| self.wrong("write", errno))
    }

    /// The first version, in a directory that was just made and is locked: to others one without a state and one with a part of it
    /// are the same, and nothing is there yet that could be forgotten.
    pub(super) fn begin(&self, intent: &Intent) -> Result<(), Error> {
        self.write(STATE, OFlag::O_EXCL, &text_of(&Head::Intent(intent.clone()), "")?)
    }

    fn write(&self, name: &str, how: OFlag, text: &str) -> Result<(), Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | how;
        let file = openat(&self.dir, name, flags, Mode::from_bits_truncate(0o600))
            .map_err(|errno| self.wrong("write", errno))?;
        File::from(file)
            .write_all(text.as_bytes())
            .map_err(|source| Error::system(format!("write {}", self.path.join(name).display()), source))
    }

    /// Frees the name. What a cut-off removal leaves is a directory without a state, which can be removed again. A name that is another's
    /// by now stays his: his directory is not empty, or, before he has written anything, one that he makes again.
    pub fn remove(&self) -> Result<(), Error> {
        match unlinkat(&self.dir, STATE, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(self.wrong("remove", errno)),
        }
        let mut removed = std::fs::remove_dir(&self.path);
        let is_full = removed.as_ref().is_err_and(|source| source.raw_os_error() == Some(libc::ENOTEMPTY));
        if is_full && !self.is_there() {
            return Ok(());
        }
        if is_full {
            // A fifo, a version that was not finished, or whatever a later program put there.
            removed = std::fs::remove_dir_all(&self.path);
        }
        match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::system(format!("remove {}", self.path.display()), source))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, deed: &str, errno: Errno) -> Error {
        Error::system(format!("{deed} {}", self.path.join(STATE).display()), errno)
    }
}

fn text_of(head: &Head, config: &str) -> Result<String, Error> {
    let head = serde_json::to_string(head)
        .map_err(|source| Error::system(format!("encode {STATE}"), std::io::Error::from(source)))?;
    Ok(format!("{head}\n{config}\n{head}"))
}

/// The text of a state file; None where there is none.
pub(super) fn read(dir: &Path) -> Result<Option<String>, Error> {
    let path = dir.join(STATE);
    match File::open(&path).and_then(read_whole) {
        // Bytes that are no text are damage, which the copy of the head may outlive.
        Ok(bytes) => Ok(Some(text(bytes))),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::system(format!("read {}", path.display()), source)),
    }
}

/// A piece that is not full is the last of a regular file, which this one is.
fn read_whole(mut file: File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; PIECE];
    loop {
        let count = file.read(&mut piece)?;
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        if count < PIECE || bytes.len() > MOST {
            return Ok(bytes);
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned())
}

/// Head, configuration, and the head's copy.
fn split(text: &str) -> (&str, &str, &str) {
    let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (config, copy) = rest.rsplit_once('\n').unwrap_or((rest, ""));
    (head, config, copy)
}

/// The configuration alone.
pub(super) fn config(text: &str) -> &str {
    split(text).1
}

/// The head, understood; by its copy if the head is damaged, since without it nobody would know what to clean up.
pub(super) fn head(dir: &Path, text: &str) -> Result<Head, Error> {
    let path = dir.join(STATE);
    let (first, _, copy) = split(text);
    let head: Head = serde_json::from_str(first)
        .or_else(|source| serde_json::from_str(copy).map_err(|_| source))
        .map_err(|source| Error::new(Kind::Invalid, format!("{}: {source}", path.display())))?;
    let version = match &head {
        Head::Intent(intent) => intent.version,
        Head::Record(record) => record.version,
    };
    match version == VERSION {
        true => Ok(head),
        false => {
            let text = format!("{}: version {version} is not known to this program", path.display());
            Err(Error::new(Kind::Unsupported, text))
        }
    }
}
