//! `build --verify`: the image once more without the cache, and what is different.

use std::collections::BTreeMap;

use crate::error::{Error, Kind};
use crate::graph::{CacheUse, Graph};
use crate::image::{self, Image, Platform};
use crate::layer::{self, Compression};
use crate::store::{Descriptor, Digest, Store};

/// More differences than this are counted.
const MOST_NAMED: usize = 20;

/// The graph with no kept result standing in.
pub(crate) fn renewed(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        node.cache = CacheUse::Renew;
    }
    graph
}

/// An error that names the files in which two builds of one graph differ.
pub(crate) fn compare(store: &Store, one: &Descriptor, other: &Descriptor) -> Result<(), Error> {
    if one.digest == other.digest {
        return Ok(());
    }
    let (one, other) = (open(store, one)?, open(store, other)?);
    let mut differences = Vec::new();
    let (count, again) = (one.manifest.layers.len(), other.manifest.layers.len());
    if count != again {
        differences.push(format!("{count} layers became {again}"));
    }
    let (diff_ids, others) = (&one.config.rootfs.diff_ids, &other.config.rootfs.diff_ids);
    let layers = one.manifest.layers.iter().zip(&other.manifest.layers);
    for (layers, _) in layers.zip(diff_ids.iter().zip(others)).filter(|(_, (one, other))| one != other) {
        let (before, after) = (entries(store, layers.0)?, entries(store, layers.1)?);
        let paths = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
        for path in paths.filter(|path| before.get(*path) != after.get(*path)) {
            differences
                .push(format!("/{}", String::from_utf8_lossy(path).trim_start_matches('/').escape_debug()));
        }
    }
    if differences.is_empty() {
        differences.push("the image's config".to_owned());
    }
    let more = differences.len().saturating_sub(MOST_NAMED);
    differences.truncate(MOST_NAMED);
    let mut text = format!("verify: a second build differs in {}", differences.join(", "));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    Err(Error::new(Kind::Invalid, text)
        .hint("what a RUN writes must not depend on time, chance or the network"))
}

fn open(store: &Store, image: &Descriptor) -> Result<Image, Error> {
    let platform = image.platform.clone().unwrap_or_else(Platform::host);
    image::open_descriptor(store, image, &platform)?
        .ok_or_else(|| Error::new(Kind::System, "verify: the image is not whole in the store"))
}

fn entries(store: &Store, layer: &Descriptor) -> Result<BTreeMap<Vec<u8>, Digest>, Error> {
    let doing = |error| Error::system(format!("read layer {}", layer.digest.short()), error);
    let compression = Compression::of_media_type(&layer.media_type).unwrap_or(Compression::None);
    let blob = store.open_blob(&layer.digest)?;
    layer::unpacked(blob, layer::Packing::Layer(compression)).and_then(layer::entries).map_err(doing)
}
