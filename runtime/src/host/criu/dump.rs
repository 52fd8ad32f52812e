//! Writes a running container to images.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::message::{self, Deed, Features, Handles, Notify};
use super::service::{Orphan, Service, Setting, Streams, features};
use super::{EXTERNAL, LEAST, Version, place, quote_on_error};
use crate::error::{Error, Kind};
use crate::host::spawn::Birth;
use crate::plan::criu::{External, Options, Switch};
use crate::plan::namespaces::Namespaces;
use crate::state::Record;
use crate::sys::pidfd;

/// What is to be written, and where to.
pub struct Dump<'a> {
    pub deed: Deed,
    pub record: &'a Record,
    pub namespaces: &'a Namespaces,
    pub options: Options,
    pub masked: &'a [PathBuf],
    pub images: &'a Path,
    /// For CRIU's logs; beside the images where it is not given.
    pub work: Option<&'a Path>,
    /// Gets a zero byte when pages can be fetched.
    pub status: Option<OwnedFd>,
    pub ignored_signals: u64,
    pub warn: &'a dyn Fn(&str),
    pub debug: &'a dyn Fn(&str),
}

/// In the images: what the standard streams were.
const DESCRIPTORS: &str = "descriptors.json";
const LOG: &str = "dump.log";

/// Returns when the images are complete. Whether the container goes on is in the options.
pub fn dump(mut dump: Dump<'_>) -> Result<(), Error> {
    let version = Version::ask(dump.ignored_signals)?;
    version.at_least(LEAST)?;
    (dump.debug)(&format!("using criu {}", version.0));
    check_features(&dump)?;
    let images = place::open(dump.images)?;
    let work = dump.work.map(|work| place::make(work).and_then(|()| place::open(work))).transpose()?;
    let mut handles = Handles {
        images: images.as_raw_fd(),
        work: work.as_ref().map(AsRawFd::as_raw_fd),
        pid: Some(dump.record.init.pid),
        log_file: LOG,
        root: dump.record.rootfs.clone(),
        freezer: freezer(dump.record),
        external: external_namespaces(dump.record.init.pid, dump.namespaces, version)?,
        ..Handles::default()
    };
    if dump.deed == Deed::Dump {
        handles.mounts = mounts(&dump)?;
        write_descriptors(dump.images, &dump.record.streams)?;
    }
    let setting = Setting {
        birth: Birth::default(),
        streams: Streams::Null,
        keep: Vec::new(),
        ignored_signals: dump.ignored_signals,
        orphan: Orphan::GoesOn,
    };
    let service = Service::start(&setting, || Ok(()))?;
    let options = message::options(&dump.options, &handles);
    let mut status = dump.status.take();
    let on = &mut |notify: &Notify, _: Option<OwnedFd>| {
        (dump.debug)(&format!("criu: {}", notify.script));
        // Closed with it: whoever waits for the byte waits for the end of the stream too.
        match (notify.script.as_str(), status.take()) {
            ("status-ready", Some(fd)) => {
                // Who has gone does not wait, and the pages are there all the same.
                if let Err(error) = tell_ready(&fd) {
                    (dump.warn)(&error.to_string());
                }
                Ok(None)
            }
            (_, kept) => {
                status = kept;
                Ok(None)
            }
        }
    };
    let asked = service.ask((dump.deed, Some(&options)), on);
    let ended = service.end();
    let result = asked.and_then(|_| match (dump.deed, ended?) {
        // It waits for the next request of a series, and we have hung up.
        (Deed::PreDump, _) | (_, pidfd::Exit::Code(0)) => Ok(()),
        (_, exit) => Err(Error::new(Kind::System, format!("criu failed: exit status {}", exit.code()))),
    });
    quote_on_error(result, &dump.work.unwrap_or(dump.images).join(LOG), dump.warn)
}

fn check_features(dump: &Dump<'_>) -> Result<(), Error> {
    let lazy = dump.options.switches.contains(&Switch::LazyPages);
    let pre_dump = dump.deed == Deed::PreDump;
    if !lazy && !pre_dump {
        return Ok(());
    }
    let Features { mem_track, lazy_pages } = features(dump.ignored_signals)?;
    let missing = match (pre_dump && !mem_track, lazy && !lazy_pages) {
        (true, _) => "MemTrack",
        (_, true) => "LazyPages",
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Unsupported, format!("criu is missing features: [{missing}]"))
        .hint("the kernel lacks them, or criu is too old"))
}

/// CRIU stops the processes by it; on its own it would stop one after the other.
fn freezer(record: &Record) -> Option<PathBuf> {
    let dirs = &record.cgroup.dirs;
    let v1 = dirs.iter().find(|dir| dir.controllers.iter().any(|own| own == "freezer"));
    v1.or_else(|| dirs.iter().find(|dir| dir.version == 2 && dirs.len() == 1)).map(|dir| dir.path.clone())
}

/// Those that were joined stay what they are: the restored container joins them again.
fn external_namespaces(init: i32, namespaces: &Namespaces, version: Version) -> Result<Vec<String>, Error> {
    let mut external = Vec::new();
    for (flag, file, key, least) in EXTERNAL {
        if !namespaces.joins(flag) {
            continue;
        }
        version.at_least(least)?;
        let path = format!("/proc/{init}/ns/{file}");
        let found = std::fs::metadata(&path);
        let found = found.map_err(|source| Error::system(format!("look at {path}"), source))?;
        external.push(format!("{file}[{}]:{key}", found.st_ino()));
    }
    Ok(external)
}

fn mounts(dump: &Dump<'_>) -> Result<Vec<External>, Error> {
    let path = format!("/proc/{}/root", dump.record.init.pid);
    let root: File = place::open(Path::new(&path))?;
    if !dump.record.init.is_alive() {
        return Err(Error::new(Kind::Invalid, "Container cannot be checkpointed in stopped state"));
    }
    let mut mounts = place::mounted(&root, &dump.options.externals);
    mounts.extend(place::masked(&root, dump.masked));
    Ok(mounts)
}

fn write_descriptors(images: &Path, streams: &[String]) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = images.join(DESCRIPTORS);
    let text = serde_json::Value::from(streams.to_vec()).to_string();
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| Error::system(format!("write {}", path.display()), source))
}

/// What the standard streams were when the images were written.
pub(super) fn read_descriptors(images: &Path) -> Result<Vec<String>, Error> {
    let path = images.join(DESCRIPTORS);
    let wrong = |source| Error::system(format!("read {}", path.display()), source);
    let text = std::fs::read(&path).map_err(wrong)?;
    serde_json::from_slice(&text).map_err(|source| wrong(source.into()))
}

fn tell_ready(status: &OwnedFd) -> Result<(), Error> {
    nix::unistd::write(status, &[0]).map(drop).map_err(|errno| Error::system("write to --status-fd", errno))
}
