//! Where the store is, and making it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::temporary::Lasting;
use super::{Lock, Store};
use crate::error::{Error, Kind};

/// The version of the format that STORE.md describes.
const VERSION: u32 = 1;
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const DIRECTORIES: [&str; 5] = ["blobs", "blobs/sha256", "snapshots", "keys", "tmp"];

#[derive(Serialize, Deserialize)]
struct Format {
    version: u32,
}

impl Store {
    /// Opens the store in `root`, making it where it is absent, and removes what killed writers left in `tmp` and what a power failure may have cut short.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let store = Self { root: absolute(root)? };
        let marker = store.path("coracle.json");
        match fs::read(&marker) {
            Ok(bytes) => check_version(&store.root, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => store.create()?,
            Err(error) => return Err(Error::system(format!("read {}", marker.display()), error)),
        }
        store.distrust()?; // first: sweeping is a sign of life
        drop(store.sweep()); // what stays is no harm to whoever opens it: `prune` says it
        Ok(store)
    }

    fn create(&self) -> Result<(), Error> {
        make_directory(&self.root)?;
        let _only_one = Lock::exclusive(&self.path("lock"))?;
        for name in DIRECTORIES {
            make_directory(&self.path(name))?;
        }
        self.write_once("oci-layout", LAYOUT.as_bytes())?;
        self.write_once("index.json", super::index::EMPTY.as_bytes())?;
        let format = serde_json::to_vec(&Format { version: VERSION })
            .map_err(|error| Error::new(Kind::Invalid, format!("write the store's version: {error}")))?;
        self.write_once("coracle.json", &format) // last: whoever sees it finds everything else
    }

    fn write_once(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if self.path(name).exists() { Ok(()) } else { self.replace_file(name, bytes, Lasting::Synced) }
    }
}

fn check_version(root: &Path, bytes: &[u8]) -> Result<(), Error> {
    match serde_json::from_slice::<Format>(bytes) {
        Ok(Format { version: VERSION }) => Ok(()),
        Ok(Format { version }) => {
            let text = format!(
                "the store in {} has version {version}, this builder knows {VERSION}",
                root.display()
            );
            Err(Error::new(Kind::Unsupported, text)
                .hint("use another --store, or another version of builder"))
        }
        Err(error) => {
            Err(Error::new(Kind::Invalid, format!("read {}: {error}", root.join("coracle.json").display())))
        }
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    // 0700: a snapshot holds setuid files of whoever made the image, and nobody else may reach them.
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Error::system(format!("create {}", path.display()), error).hint("choose another place with --store")
    })
}

fn absolute(root: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(root).map_err(|error| Error::system(format!("find {}", root.display()), error))
}

/// The store of this user: `/var/lib/coracle` for root, else `$XDG_DATA_HOME/coracle` or `~/.local/share/coracle`.
pub fn default_root() -> Result<PathBuf, Error> {
    // Inside the builder's own user namespace everybody is uid 0: HOME tells the user's place all the same.
    if nix::unistd::geteuid().is_root() && owns_host_ids() {
        return Ok(PathBuf::from("/var/lib/coracle"));
    }
    let set =
        |name: &str| std::env::var_os(name).filter(|value| Path::new(value).is_absolute()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|place| place.join("coracle"))
        .ok_or_else(|| {
            Error::new(Kind::Invalid, "find the store: HOME is not set").hint("name it with --store")
        })
}

/// Whether uid 0 here is uid 0 of the host.
fn owns_host_ids() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut words = map.split_whitespace();
    let (inside, outside) = (words.next(), words.next());
    map.is_empty() || (inside == Some("0") && outside == Some("0"))
}
