//! Snapshots after a power failure. Nothing of them was synced, and no file of them says whether it is whole; but what was written long
//! before is on the disk, and a snapshot that is gone is unpacked again.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::temporary::Lasting;
use super::{Key, Store};
use crate::error::Error;

/// The kernel's name of the time since the machine was started.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// What is older than this is written back, with the kernel's settings (30 s, and 5 s between looks) and a slow disk.
const WRITTEN_BACK: Duration = Duration::from_mins(2);
/// Each changes with the store, so that the newest says until when the machine ran at the least.
const SIGNS: [&str; 5] = ["snapshots", "keys", "blobs/sha256", "tmp", "index.json"];

impl Store {
    /// Removes what the end of an earlier boot may have cut short, once a boot. A clean end looks the same: then a layer or two are
    /// unpacked again for nothing.
    pub(super) fn distrust(&self) -> Result<(), Error> {
        // Where /proc is masked nobody can tell.
        let Ok(boot) = fs::read(BOOT) else { return Ok(()) };
        match fs::read(self.path("boot")) {
            Ok(known) if known == boot => return Ok(()),
            _ => {}
        }
        // Somebody is faster, or at work since: it is done, or will be.
        let Some(_alone) = self.alone()? else { return Ok(()) };
        let Some(ran_until) = SIGNS.iter().filter_map(|name| changed(&self.path(name))).max() else {
            return Ok(());
        };
        let entries = fs::read_dir(self.path("snapshots")).into_iter().flatten().flatten();
        for entry in entries {
            let is_safe = changed(&entry.path()).is_some_and(|made| made + WRITTEN_BACK < ran_until);
            let Ok(key) = entry.file_name().to_string_lossy().parse::<Key>() else { continue };
            if !is_safe
                && let Err(error) = self.remove_snapshot(&key)
                && self.has_snapshot(&key)
            {
                return Err(error);
            }
        }
        self.replace_file("boot", &boot, Lasting::Renewable)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}
