//! What is known of a container while it runs, and after.
//!
//! A record is a directory with a lock that its supervisor holds: the lock, not a pid, tells whether it runs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::request::Request;
use crate::error::{Error, Kind};
use crate::store::Store;
use crate::sys::userns;

/// What is written of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// The image's name.
    pub(crate) image: String,
    /// The process that a signal for it goes to, in the host's pid namespace.
    pub(crate) supervisor: u32,
    /// Published ports, for people.
    pub(crate) ports: Vec<String>,
    /// How it ended.
    pub(crate) exit_code: Option<u8>,
}

/// A record that this process holds.
#[derive(Debug)]
pub(super) struct Claim {
    directory: PathBuf,
    record: Record,
    _lock: File,
}

fn home(store: &Store) -> PathBuf {
    store.root().join("containers")
}

/// Takes the container's name. A name whose container has ended is free again only when it was removed.
pub(super) fn claim(store: &Store, request: &Request) -> Result<Claim, Error> {
    let directory = home(store).join(&request.name);
    let doing = |error| Error::system(format!("make {}", directory.display()), error);
    let make = |recursive| fs::DirBuilder::new().mode(0o700).recursive(recursive).create(&directory);
    fs::DirBuilder::new().mode(0o700).recursive(true).create(home(store)).map_err(doing)?;
    match make(false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::new(Kind::Invalid, format!("the name {} is taken", request.name))
                .hint(format!("`builder rm {}` frees it", request.name)));
        }
        other => other.map_err(doing)?,
    }
    let lock = File::create(directory.join("lock")).map_err(doing)?;
    lock.lock().map_err(doing)?;
    let record = Record {
        id: request.id.clone(),
        name: request.name.clone(),
        image: request.image.familiar(),
        supervisor: userns::outer().pid,
        ports: request.ports.iter().map(ToString::to_string).collect(),
        exit_code: None,
    };
    let claim = Claim { directory, record, _lock: lock };
    claim.write()?;
    Ok(claim)
}

impl Claim {
    /// Where its output goes when nobody looks on.
    pub(super) fn log(&self) -> Result<File, Error> {
        let path = self.directory.join("log");
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| Error::system(format!("open {}", path.display()), error))
    }

    /// It has ended.
    pub(super) fn end(mut self, code: u8, forget: bool) -> Result<(), Error> {
        if forget {
            return fs::remove_dir_all(&self.directory)
                .map_err(|error| Error::system(format!("remove {}", self.directory.display()), error));
        }
        self.record.exit_code = Some(code);
        self.write()
    }

    fn write(&self) -> Result<(), Error> {
        let path = self.directory.join("record.json");
        let new = self.directory.join("record.json.new");
        let text = serde_json::to_vec(&self.record)
            .map_err(|error| Error::new(Kind::Invalid, format!("describe the container: {error}")))?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| Error::system(format!("write {}", path.display()), error))
    }
}

/// Whether a supervisor holds the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It runs.
    Running,
    /// It has ended, or its supervisor was killed.
    Ended,
}

/// The record of this name.
pub(crate) fn open(store: &Store, name: &str) -> Result<(Record, Life), Error> {
    // The name becomes a path: only a plain one can be there.
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    let directory = home(store).join(name);
    if !plain || !directory.is_dir() {
        return Err(Error::new(Kind::Invalid, format!("there is no container \"{}\"", name.escape_debug()))
            .hint("`builder ps --all` lists them"));
    }
    read(&directory).map_err(|error| Error::system(format!("read the record of {name}"), error))
}

/// Every record, by name.
pub(crate) fn all(store: &Store) -> Result<Vec<(Record, Life)>, Error> {
    let listed = match fs::read_dir(home(store)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Error::system("list the containers", error))?,
    };
    // One that vanishes meanwhile, or was never finished, is not a container.
    let mut records: Vec<_> = listed.flatten().filter_map(|entry| read(&entry.path()).ok()).collect();
    records.sort_by(|one, other| one.0.name.cmp(&other.0.name));
    Ok(records)
}

fn read(directory: &Path) -> io::Result<(Record, Life)> {
    let record = serde_json::from_slice(&fs::read(directory.join("record.json"))?)?;
    let lock = File::open(directory.join("lock"))?;
    let life = if lock.try_lock_shared().is_ok() { Life::Ended } else { Life::Running };
    Ok((record, life))
}

/// Where the log of a container is.
pub(crate) fn log_path(store: &Store, name: &str) -> PathBuf {
    home(store).join(name).join("log")
}

/// Forgets an ended container.
pub(crate) fn remove(store: &Store, name: &str) -> Result<(), Error> {
    let (_, life) = open(store, name)?;
    if life == Life::Running {
        return Err(Error::new(Kind::Invalid, format!("the container {name} runs"))
            .hint(format!("`builder stop {name}` stops it")));
    }
    let directory = home(store).join(name);
    fs::remove_dir_all(&directory)
        .map_err(|error| Error::system(format!("remove {}", directory.display()), error))
}

/// Waits until the supervisor lets go of the record.
pub(crate) fn wait(store: &Store, name: &str) -> Result<(), Error> {
    match File::open(home(store).join(name).join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(lock) => lock.lock_shared().map_err(|error| Error::system(format!("wait for {name}"), error)),
        Err(error) => Err(Error::system(format!("wait for {name}"), error)),
    }
}
