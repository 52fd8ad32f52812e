//! What is not one command at a time: several creators at once, many containers at once, and the memory of one that waits.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::measure::{Place, Sample, reap_rest};
use super::statistics::{Spread, float};

/// Containers in a second, by so many creators at once: each makes `each`, one with every call of `once`, which gets its number.
pub(super) fn throughput(
    creators: usize,
    each: u32,
    once: impl Fn(usize) -> Result<Sample> + Sync,
) -> Result<f64> {
    let begin = Instant::now();
    let done: Result<Vec<()>> = std::thread::scope(|scope| {
        let once = &once;
        let all: Vec<_> = (0..creators)
            .map(|creator| scope.spawn(move || (0..each).try_for_each(|_| once(creator).map(drop))))
            .collect();
        all.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("a creator panicked"))?).collect()
    });
    done?;
    let count = f64::from(each) * float(u64::try_from(creators)?);
    Ok(count / begin.elapsed().as_secs_f64())
}

/// KiB that belong to the runtime's processes of one container that is created and waits (proportional set size).
pub(super) fn waiting(place: &Place<'_>) -> Result<u64> {
    let before = own_children()?;
    place.created()?;
    let mut sum = 0;
    for pid in own_children()?.iter().filter(|pid| !before.contains(pid)) {
        let path = Path::new("/proc").join(pid.to_string()).join("smaps_rollup");
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("find Pss")?;
        sum += line.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    place.end()?;
    Ok(sum)
}

/// All below us: containers whose runtime has ended are our children.
fn own_children() -> Result<Vec<i32>> {
    let own = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/self/task/{own}/children"))?;
    Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// How long a start takes among few, and among all that are there at the end.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Alive {
    pub(super) first: Spread,
    pub(super) last: Spread,
}

/// Starts them one after the other; they stay until all are there.
pub(super) fn alive(places: &[Place<'_>]) -> Result<Alive> {
    let mut times = Vec::new();
    for place in places {
        let begin = Instant::now();
        place.begin()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    places.iter().try_for_each(Place::end)?;
    reap_rest()?;
    let part = (times.len() / 20).max(1);
    let last = times.iter().rev().take(part).copied();
    Ok(Alive { first: Spread::of(times.iter().take(part).copied()), last: Spread::of(last) })
}
