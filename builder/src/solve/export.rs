//! The records of a build, for caches elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::solver::{Done, Kept};
use crate::error::{Error, Kind};
use crate::graph::Graph;
use crate::image::CacheRecords;
use crate::store::{Descriptor, Key, Store};

/// Which steps are in an exported cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those whose layers the image has.
    Min,
    /// Every one.
    Max,
}

/// Records by key, and the blobs that they need.
#[derive(Debug, Clone, Default)]
pub struct Exported {
    /// The records.
    pub records: CacheRecords,
    /// The blobs, each once.
    pub blobs: BTreeMap<String, Descriptor>,
}

pub(super) fn records(
    graph: &Graph,
    done: &[Done],
    store: &Store,
    extent: Extent,
) -> Result<Exported, Error> {
    let wanted = match extent {
        Extent::Max => (0..graph.nodes.len()).collect(),
        Extent::Min => of_image(graph),
    };
    let mut exported = Exported::default();
    for at in wanted {
        let Some(done) = done.get(at) else { continue };
        for key in BTreeSet::from([&done.defined, &done.key]) {
            exported.add(store, key)?;
        }
    }
    Ok(exported)
}

/// The steps that the result stands on, one on the other.
fn of_image(graph: &Graph) -> BTreeSet<usize> {
    let mut chain = BTreeSet::new();
    let mut next = Some(graph.result);
    while let Some(id) = next {
        chain.insert(id.0);
        next = graph.nodes.get(id.0).and_then(|node| node.base);
    }
    chain
}

impl Exported {
    fn add(&mut self, store: &Store, key: &Key) -> Result<(), Error> {
        // Nodes without a record are images: whoever imports this has them, or pulls them.
        let Some(kept) = Kept::read(store, key)? else { return Ok(()) };
        if let Kept::Layer(layer) = &kept {
            self.blobs.insert(layer.0.digest.to_string(), layer.0.clone());
        }
        let body = serde_json::to_value(&kept)
            .map_err(|error| Error::new(Kind::Invalid, format!("describe the cache: {error}")))?;
        self.records.insert(key.to_string(), body);
        Ok(())
    }

    /// With those of another platform's build.
    pub fn merge(&mut self, other: Self) {
        self.records.extend(other.records);
        self.blobs.extend(other.blobs);
    }
}
