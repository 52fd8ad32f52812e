//! Hashes of a user's files that are kept from build to build: when one stands in for a file, and when it may not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use builder::context::{Parents, Tree, content, find};
use builder::store::{Digest, Key, Store};
use nix::time::{ClockId, clock_gettime};

struct Site {
    place: tempfile::TempDir,
    store: Store,
}

impl Site {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("context/d")).unwrap();
        let store = Store::open(&place.path().join("store")).unwrap();
        Self { place, store }
    }

    fn file(&self) -> PathBuf {
        self.place.path().join("context/d/f")
    }

    fn digest(&self, store: Option<&Store>) -> Digest {
        let tree = Tree::directory(&self.place.path().join("context"), None).unwrap();
        let found = find(&tree, "d", Parents::Dropped).unwrap();
        let kept = store.map(|store| (store, "d"));
        content(&tree, (&found, Parents::Dropped), (None, None), kept).unwrap().digest
    }

    /// The digest, and that it is the one that a look at all bytes gives.
    fn right(&self) -> Digest {
        let digest = self.digest(Some(&self.store));
        assert_eq!(digest, self.digest(None));
        digest
    }

    fn lists(&self) -> Vec<Key> {
        let Ok(lists) = fs::read_dir(self.place.path().join("store/hashes")) else { return Vec::new() };
        lists.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    fn is_on_a_file_system_of_its_own_times(&self) -> bool {
        use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};
        let kind = statfs(self.place.path()).unwrap().filesystem_type();
        [BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC].contains(&kind)
    }

    /// Returns once a change of the file would show in its ctime for certain.
    fn settle(&self) {
        let time = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            Duration::new(found.ctime().unsigned_abs(), u32::try_from(found.ctime_nsec()).unwrap())
        };
        let changed = time(&self.file()).max(time(self.file().parent().unwrap()));
        // A tick is no more than that.
        let settled = changed + Duration::from_millis(20);
        while Duration::from(clock_gettime(ClockId::CLOCK_REALTIME_COARSE).unwrap()) <= settled {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_file_of_the_same_stat_is_not_read_again() {
    let site = Site::new();
    fs::write(site.file(), "one").unwrap();
    site.settle();
    let one = site.right();
    let lists = site.lists();
    if lists.is_empty() && !site.is_on_a_file_system_of_its_own_times() {
        println!("not run: {} shows the times of another file system", site.place.path().display());
        return;
    }
    assert_eq!(lists.len(), 1);
    // With another digest in the list the file passes for another one.
    let list = site.store.hashes(&lists[0]).unwrap();
    let mut other = list.clone();
    let last = other.last_mut().unwrap();
    *last = if *last == b'0' { b'1' } else { b'0' };
    site.store.put_hashes(&lists[0], &other).unwrap();
    assert_ne!(site.digest(Some(&site.store)), one);
    // A list that is not whole is none.
    let path = site.place.path().join("store/hashes").join(lists[0].as_str());
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(site.store.hashes(&lists[0]), None);
    assert_eq!(site.right(), one);
}

#[test]
fn other_bytes_are_seen_behind_the_same_size_and_time() {
    let site = Site::new();
    fs::write(site.file(), "one").unwrap();
    site.settle();
    let one = site.right();
    let time = fs::metadata(site.file()).unwrap().modified().unwrap();
    fs::write(site.file(), "two").unwrap();
    File::options()
        .write(true)
        .open(site.file())
        .unwrap()
        .set_times(FileTimes::new().set_modified(time))
        .unwrap();
    assert_eq!(fs::metadata(site.file()).unwrap().modified().unwrap(), time);
    let two = site.right();
    assert_ne!(two, one);
    // Content alone counts: the file from before, with another time.
    fs::write(site.file(), "one").unwrap();
    File::open(site.file()).unwrap().set_times(FileTimes::new().set_modified(UNIX_EPOCH)).unwrap();
    assert_eq!(site.right(), one);
}

#[test]
fn a_file_that_changes_all_the_time_is_seen_each_time() {
    let site = Site::new();
    for number in 1000..1400 {
        // The same size, often within one tick of the clock.
        fs::write(site.file(), number.to_string()).unwrap();
        site.right();
    }
}

#[test]
fn a_mode_that_changes_is_seen_and_what_is_gone_is_gone() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    fs::write(site.file(), "one").unwrap();
    site.settle();
    let one = site.right();
    fs::set_permissions(site.file(), fs::Permissions::from_mode(0o640)).unwrap();
    assert_ne!(site.right(), one);
    fs::remove_file(site.file()).unwrap();
    assert_ne!(site.right(), one);
}
