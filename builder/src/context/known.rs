//! What a user's files were hashed to before, found by what stat says of them, as git's index has it.
//!
//! The kernel changes an object's ctime with whatever is done to it, and nobody can set it. So an object whose device, inode,
//! size, mode and times are the same to the nanosecond is the same, except where it was changed twice within one tick of the
//! clock ("racily clean"): one that was that new when it was hashed is not remembered. Neither is one whose ctime is a whole second:
//! that is a file system with coarse times, or one that was made in one piece with times of somebody's choice.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::stat::FileStat;
use nix::sys::statfs::{self, FsType, fstatfs};
use nix::time::{ClockId, clock_gettime};

use super::tree::Tree;
use crate::error::Error;
use crate::store::{Digest, Key, Store};
use crate::sys::proc_path;

/// Changes with what is hashed.
const FORM: &[u8] = b"coracle hashes 2\n";
/// Those that keep ctime themselves, by this machine's clock. A server's does not, and an overlay shows the ctime of what is below, which
/// may be anything.
const LOCAL: [FsType; 5] = [
    statfs::EXT4_SUPER_MAGIC,
    statfs::XFS_SUPER_MAGIC,
    statfs::BTRFS_SUPER_MAGIC,
    statfs::F2FS_SUPER_MAGIC,
    statfs::TMPFS_MAGIC,
];
const SECOND: i64 = 1_000_000_000;
/// More than a tick of any kernel.
const TICK: i64 = SECOND / 50;

const STAT: usize = 56;
const HEX: usize = 64;
/// All that a change would touch.
type Identity = [u8; STAT];

/// The objects of one source; what is not found in the list is hashed and told.
pub(super) struct Known<'a> {
    place: Option<(&'a Store, Key)>,
    before: HashMap<Identity, [u8; HEX]>,
    now: Vec<(Identity, Digest)>,
    has_news: bool,
    /// When the walk began, in nanoseconds: what is changed after it has a later ctime.
    begin: i64,
    devices: HashMap<u64, bool>,
}

impl<'a> Known<'a> {
    /// Nothing, and nothing is kept.
    pub(super) fn nothing() -> Self {
        Self {
            place: None,
            before: HashMap::new(),
            now: Vec::new(),
            has_news: false,
            begin: 0,
            devices: HashMap::new(),
        }
    }

    /// What is known of the files that `pattern` names in a directory of the user's.
    pub(super) fn of(tree: &Tree, pattern: &str, store: &'a Store) -> Self {
        let nothing = Self::nothing();
        let path = tree.root().and_then(|root| fs::read_link(proc_path(root)).ok());
        // What a build fetched into the store is a new object each time.
        let Some(path) = path.filter(|path| !path.starts_with(store.root())) else { return nothing };
        let Ok(time) = clock_gettime(ClockId::CLOCK_REALTIME_COARSE) else { return nothing };
        let key = key(&path, pattern);
        let before = store.hashes(&key).map(|bytes| read(&bytes)).unwrap_or_default();
        let begin = nanoseconds(time.tv_sec(), time.tv_nsec());
        Self { place: Some((store, key)), before, begin, ..nothing }
    }

    /// What the object was hashed to, if it is the same still.
    pub(super) fn find(&mut self, stat: &FileStat) -> Option<Digest> {
        let identity = identity(stat);
        let hex = std::str::from_utf8(self.before.get(&identity)?).ok()?;
        let digest: Digest = format!("sha256:{hex}").parse().ok()?;
        self.now.push((identity, digest.clone()));
        Some(digest)
    }

    /// Whether an object may be remembered by the stat that was read before it is hashed; `near` is on the same file system.
    pub(super) fn takes(&mut self, near: impl AsFd, stat: &FileStat) -> bool {
        let is_local = || fstatfs(near).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()));
        self.place.is_some()
            && is_settled(stat, self.begin)
            && *self.devices.entry(stat.st_dev).or_insert_with(is_local)
    }

    /// Remembers an object that may be.
    pub(super) fn learn(&mut self, stat: &FileStat, digest: &Digest) {
        self.now.push((identity(stat), digest.clone()));
        self.has_news = true;
    }

    /// Keeps what is known now.
    pub(super) fn save(self) -> Result<(), Error> {
        let Some((store, key)) = self.place.filter(|_| self.has_news) else { return Ok(()) };
        let mut bytes = Vec::with_capacity(FORM.len() + self.now.len() * (STAT + HEX));
        bytes.extend_from_slice(FORM);
        for (identity, digest) in &self.now {
            bytes.extend_from_slice(identity);
            bytes.extend_from_slice(digest.hex().as_bytes());
        }
        store.put_hashes(&key, &bytes)
    }
}

fn key(root: &Path, pattern: &str) -> Key {
    use std::os::unix::ffi::OsStrExt;
    let root = root.as_os_str().as_bytes();
    let mut name = format!("{} ", root.len()).into_bytes();
    name.extend_from_slice(root);
    name.extend_from_slice(pattern.as_bytes());
    Key::from(&Digest::of(&name))
}

fn read(bytes: &[u8]) -> HashMap<Identity, [u8; HEX]> {
    let records = bytes.strip_prefix(FORM).unwrap_or_default().as_chunks::<{ STAT + HEX }>().0;
    let record = |record: &[u8; STAT + HEX]| {
        let (identity, hex) = record.split_first_chunk::<STAT>()?;
        Some((*identity, *hex.first_chunk::<HEX>()?))
    };
    records.iter().filter_map(record).collect()
}

fn identity(stat: &FileStat) -> Identity {
    let (mtime, ctime) = ((stat.st_mtime, stat.st_mtime_nsec), (stat.st_ctime, stat.st_ctime_nsec));
    let mut identity = [0; STAT];
    let fields = [
        stat.st_dev.to_le_bytes(),
        stat.st_ino.to_le_bytes(),
        stat.st_size.to_le_bytes(),
        u64::from(stat.st_mode).to_le_bytes(),
        mtime.0.to_le_bytes(),
        ctime.0.to_le_bytes(),
        // Both are below 2^30.
        (mtime.1 << 32 | ctime.1).to_le_bytes(),
    ];
    for (place, byte) in identity.iter_mut().zip(fields.as_flattened()) {
        *place = *byte;
    }
    identity
}

/// Whether a change after `begin` must show in the ctime.
fn is_settled(stat: &FileStat, begin: i64) -> bool {
    stat.st_ctime_nsec != 0 && nanoseconds(stat.st_ctime, stat.st_ctime_nsec).saturating_add(TICK) < begin
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(SECOND).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_change_without_another_ctime_is_not_remembered() {
        let place = tempfile::tempdir().unwrap();
        let mut stat = nix::sys::stat::stat(place.path()).unwrap();
        for (ctime, begin, settled) in [
            ((10, 5), nanoseconds(10, 5), false),
            ((10, 5), nanoseconds(10, 5) + TICK, false),
            ((10, 5), nanoseconds(10, 6) + TICK, true),
            ((10, 0), nanoseconds(99, 0), false),
            ((13, 5), nanoseconds(12, 0), false),
        ] {
            (stat.st_ctime, stat.st_ctime_nsec) = ctime;
            assert_eq!(is_settled(&stat, begin), settled, "{ctime:?} {begin}");
        }
    }

    #[test]
    fn every_field_that_a_change_touches_makes_another_identity() {
        let place = tempfile::tempdir().unwrap();
        let stat = nix::sys::stat::stat(place.path()).unwrap();
        let same = identity(&stat);
        let changes: [fn(&mut FileStat); 8] = [
            |stat| stat.st_dev += 1,
            |stat| stat.st_ino += 1,
            |stat| stat.st_size += 1,
            |stat| stat.st_mode ^= 1,
            |stat| stat.st_mtime += 1,
            |stat| stat.st_mtime_nsec ^= 1,
            |stat| stat.st_ctime += 1,
            |stat| stat.st_ctime_nsec ^= 1,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = stat;
            change(&mut other);
            assert_ne!(identity(&other), same, "{number}");
        }
    }
}
