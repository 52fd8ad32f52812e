//! Garbage: blobs, snapshots and records that nothing needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::temporary::remove_tree;
use super::{Descriptor, Digest, Key, Record, Store, nullable};
use crate::error::Error;

/// What of the build cache goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: only what neither an image nor the cache needs.
    KeepCache,
    /// Records not used for this long.
    UnusedFor(Duration),
    /// The records used least recently, until the layers of those that stay are of no more than this many bytes.
    Within(u64),
    /// All of it.
    DropCache,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Blobs.
    pub blobs: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Records of the build cache.
    pub records: u64,
    /// Bytes of the blobs.
    pub bytes: u64,
}

#[derive(Default)]
struct Live {
    blobs: BTreeSet<Digest>,
    snapshots: BTreeSet<Key>,
}

/// The parts of an index or a manifest that point at other blobs.
#[derive(Deserialize)]
struct Pointers {
    #[serde(default, deserialize_with = "nullable")]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "nullable")]
    layers: Vec<Descriptor>,
}

/// The part of an image config that names snapshots.
#[derive(Deserialize)]
struct Layers {
    rootfs: DiffIds,
}

#[derive(Deserialize)]
struct DiffIds {
    #[serde(default, deserialize_with = "nullable")]
    diff_ids: Vec<Digest>,
}

impl Store {
    /// Removes the directories of `RUN --mount=type=cache`; returns how many there were. The caller holds `alone()`.
    pub fn drop_cache_mounts(&self) -> Result<u64, Error> {
        let home = self.path("caches");
        if !home.is_dir() {
            return Ok(0);
        }
        let mut count = 0;
        for name in names(&home)? {
            let path = home.join(&name);
            remove_tree(&path).map_err(|error| Error::system(format!("remove {}", path.display()), error))?;
            count += 1;
        }
        Ok(count)
    }

    /// Removes what neither an image nor the kept part of the cache needs. The caller holds `alone()`.
    pub fn collect(&self, policy: Policy) -> Result<Freed, Error> {
        let mut freed = Freed::default();
        let mut live = Live::default();
        for image in self.list()? {
            self.mark(&image.descriptor, &mut live);
        }
        self.collect_records(policy, &mut live, &mut freed)?;
        self.collect_hashes(policy)?;
        for name in names(&self.path("snapshots"))? {
            if let Ok(key) = name.parse::<Key>()
                && !live.snapshots.contains(&key)
            {
                self.remove_snapshot(&key)?;
                freed.snapshots += 1;
            }
        }
        for name in names(&self.path("blobs/sha256"))? {
            if let Ok(digest) = format!("sha256:{name}").parse::<Digest>()
                && !live.blobs.contains(&digest)
            {
                let path = self.blob_path(&digest);
                freed.bytes += fs::metadata(&path).map_or(0, |found| found.len());
                remove_tree(&path)
                    .map_err(|error| Error::system(format!("remove {}", path.display()), error))?;
                freed.blobs += 1;
            }
        }
        Ok(freed)
    }

    /// A pulled index names platforms that were never fetched: what is absent is skipped.
    fn mark(&self, descriptor: &Descriptor, live: &mut Live) {
        if !live.blobs.insert(descriptor.digest.clone()) {
            return;
        }
        let Ok(bytes) = self.read_blob(&descriptor.digest) else { return };
        let Ok(pointers) = serde_json::from_slice::<Pointers>(&bytes) else { return };
        for manifest in &pointers.manifests {
            self.mark(manifest, live);
        }
        live.blobs.extend(pointers.layers.into_iter().map(|layer| layer.digest));
        let Some(config) = pointers.config else { return };
        if let Ok(bytes) = self.read_blob(&config.digest)
            && let Ok(layers) = serde_json::from_slice::<Layers>(&bytes)
        {
            live.snapshots.extend(Key::chain(&layers.rootfs.diff_ids));
        }
        live.blobs.insert(config.digest);
    }

    fn collect_records(&self, policy: Policy, live: &mut Live, freed: &mut Freed) -> Result<(), Error> {
        let mut paths: Vec<_> =
            names(&self.path("keys"))?.iter().map(|name| self.path("keys").join(name)).collect();
        if let Policy::Within(_) = policy {
            paths.sort_by_key(|path| std::cmp::Reverse(used(path)));
        }
        let (mut kept, mut bytes) = (BTreeSet::new(), 0);
        for path in paths {
            let record = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            let mut fits = |record: &Record| {
                let Policy::Within(most) = policy else { return true };
                let size = |blob: &&Digest| fs::metadata(self.blob_path(blob)).map_or(0, |found| found.len());
                let more: u64 =
                    record.blobs.iter().filter(|blob| !kept.contains(*blob)).map(|b| size(&b)).sum();
                let fits = bytes + more <= most;
                if fits {
                    bytes += more;
                    kept.extend(record.blobs.iter().cloned());
                }
                fits
            };
            match record.filter(|record| keeps(policy, &path) && fits(record)) {
                Some(record) => {
                    live.blobs.extend(record.blobs);
                    live.snapshots.extend(record.snapshots);
                }
                None => {
                    remove_tree(&path)
                        .map_err(|error| Error::system(format!("remove {}", path.display()), error))?;
                    freed.records += 1;
                }
            }
        }
        Ok(())
    }

    fn collect_hashes(&self, policy: Policy) -> Result<(), Error> {
        let home = self.path("hashes");
        if !home.is_dir() {
            return Ok(());
        }
        for path in names(&home)?.iter().map(|name| home.join(name)).filter(|path| !keeps(policy, path)) {
            remove_tree(&path).map_err(|error| Error::system(format!("remove {}", path.display()), error))?;
        }
        Ok(())
    }
}

fn keeps(policy: Policy, record: &Path) -> bool {
    match policy {
        Policy::KeepCache | Policy::Within(_) => true,
        Policy::DropCache => false,
        Policy::UnusedFor(limit) => {
            // A record from the future (a clock set back) counts as used now.
            SystemTime::now().duration_since(used(record)).map_or(true, |age| age < limit)
        }
    }
}

fn used(record: &Path) -> SystemTime {
    fs::metadata(record).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let doing = |error| Error::system(format!("read {}", directory.display()), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(doing)? {
        names.extend(entry.map_err(doing)?.file_name().into_string().ok());
    }
    Ok(names)
}
