//! The image's config and manifest, from the chains of the graph.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Env;
use super::cell::{self, Chain};
use super::solver::Done;
use crate::error::Error;
use crate::graph::{Graph, HISTORY_COMMENT, NodeId};
use crate::image::{self, CacheRecords, History, INLINE, Platform};
use crate::layer::Compression;
use crate::store::Descriptor;

pub(super) fn assemble(
    (graph, env): (&Graph, &Env),
    done: &[Done],
    inline: Option<CacheRecords>,
) -> Result<Descriptor, Error> {
    let nothing = Chain::new();
    let chains: Vec<&Chain> = done.iter().map(|done| &done.chain).collect();
    let chain = chains.get(graph.result.0).copied().unwrap_or(&nothing);
    let archives = cell::archives(chain)?;
    let created = rfc3339(graph.time.unwrap_or_else(now));
    let mut config = graph.config.clone();
    config.created = Some(created.clone());
    config.rootfs.diff_ids = archives.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    for entry in &graph.history {
        let made_layer = entry.node.is_some_and(|node| grew(graph, &chains, node.0));
        config.history.push(History {
            created: Some(created.clone()),
            created_by: entry.created_by.clone(),
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer: !made_layer,
            ..History::default()
        });
    }
    // A layer that the cache has may have been written with another compression. The base's stay as they came.
    let of_base = graph.base_layers();
    let kept: Vec<Descriptor> = archives.into_iter().map(|(blob, _)| as_oci(blob)).collect();
    let compressed = kept.iter().enumerate().map(|(at, blob)| match at < of_base {
        true => Ok(blob.clone()),
        false => image::in_compression(&env.store, blob, env.compression),
    });
    let layers = compressed.collect::<Result<Vec<Descriptor>, Error>>()?;
    if let Some(records) = inline {
        // Whoever reads them has the image's layers, and no others.
        let mut records = serde_json::json!(records);
        image::follow(&mut records, &image::moved(&kept, &layers));
        config.other.insert(INLINE.to_owned(), records);
    }
    let suits = |wanted: &Option<Platform>| wanted.as_ref().is_none_or(|wanted| graph.platform.suits(wanted));
    let annotations = env.annotations.iter().filter(|(platform, _, _)| suits(platform));
    let annotations = annotations.map(|(_, name, value)| (name.clone(), value.clone())).collect();
    image::put(&env.store, &config, &layers, annotations)
}

/// How many layers are there after each node that the result stands on.
pub(super) fn heights(graph: &Graph, done: &[Done]) -> BTreeMap<NodeId, usize> {
    let (mut heights, mut next) = (BTreeMap::new(), Some(graph.result));
    while let Some(id) = next {
        heights.insert(id, done.get(id.0).map_or(0, |done| done.chain.len()));
        next = graph.nodes.get(id.0).and_then(|node| node.base);
    }
    heights
}

/// Whether a node added a layer to what it stands on.
fn grew(graph: &Graph, chains: &[&Chain], node: usize) -> bool {
    let length = |at: usize| chains.get(at).map_or(0, |chain| chain.len());
    let base = graph.nodes.get(node).and_then(|node| node.base);
    length(node) > base.map_or(0, |base| length(base.0))
}

/// Docker's names for layers are not in an OCI manifest; the bytes are the same.
fn as_oci(mut blob: Descriptor) -> Descriptor {
    if let Some(compression) = Compression::of_media_type(&blob.media_type) {
        compression.media_type().clone_into(&mut blob.media_type);
    }
    blob
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, as image configs have it.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March, so that leap days come last; eras are 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_image_configs_have_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_709_209_801, "2024-02-29T12:30:01Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }
}
