//! `builder prune`: what nothing needs, and as much of the build cache as is asked for.

use std::process::ExitCode;
use std::time::Duration;

use super::showing::print;
use super::{Global, table};
use crate::bundle::parse_bytes;
use crate::error::{Error, Kind};
use crate::store::{Policy, Store};
use crate::sys::userns::{self, Side};

/// Removes images without a name, unused files, and old build cache
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove the whole build cache
    #[arg(short, long, conflicts_with = "unused_for")]
    all: bool,
    /// Remove build cache that was not used for so long: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    unused_for: Option<Duration>,
    /// Remove the build cache that was used least recently, until its layers are of no more than this size: 500m, 10g
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with_all = ["all", "unused_for"])]
    keep_storage: Option<u64>,
    /// Remove the directories of RUN --mount=type=cache too
    #[arg(long)]
    caches: bool,
}

/// Prints what was removed.
pub(crate) fn prune(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    if let Side::Outer(code) = userns::enter()? {
        return Ok(code);
    }
    let store = Store::open(&global.store_root()?)?;
    let Some(_alone) = store.alone()? else {
        let text = format!("prune {}: it is in use", store.root().display());
        return Err(Error::new(Kind::System, text).hint("wait until builds and containers have ended"));
    };
    let nameless = store.forget_nameless()?.len();
    let policy = match (args.all, args.unused_for, args.keep_storage) {
        (true, ..) => Policy::DropCache,
        (false, Some(limit), _) => Policy::UnusedFor(limit),
        (false, None, Some(bytes)) => Policy::Within(bytes),
        (false, None, None) => Policy::KeepCache,
    };
    if args.caches {
        let count = store.drop_cache_mounts()?;
        print(&format!("removed {count} cache mounts"))?;
    }
    let freed = store.collect(policy)?;
    let left = store.sweep();
    print(&format!(
        "removed {nameless} nameless images, {} cached steps, {} snapshots, {} blobs of {}",
        freed.records,
        freed.snapshots,
        freed.blobs,
        table::size(freed.bytes)
    ))?;
    left.into_iter().next().map_or(Ok(ExitCode::SUCCESS), Err)
}

/// A number and its unit: s, m, h, d.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || "expected a number and s, m, h or d, as in 24h".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(invalid()),
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(invalid)
}
