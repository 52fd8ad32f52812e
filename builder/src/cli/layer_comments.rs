//! What BuildKit adds to a scanner's list of the result: for each file the layer that it is from.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde_json::{Value, json};

use crate::error::Error;
use crate::image::Manifest;
use crate::layer::{self, Compression};
use crate::store::Store;

/// Adds them to an SPDX document; a file that has a comment keeps it.
pub(super) fn add(document: &mut Value, store: &Store, manifest: &Manifest) -> Result<(), Error> {
    let creators = document.pointer_mut("/creationInfo/creators").and_then(Value::as_array_mut);
    if let Some(creators) = creators {
        creators.push(json!(concat!("Tool: coracle-", env!("CARGO_PKG_VERSION"))));
    }
    let Some(files) = document.get_mut("files").and_then(Value::as_array_mut) else { return Ok(()) };
    let layers = by_path(store, manifest)?;
    for file in files {
        let name = file.get("fileName").and_then(Value::as_str).map(plain);
        let layer = name.and_then(|name| layers.get(&name));
        if let (Some(layer), Some(file)) = (layer, file.as_object_mut()) {
            file.entry("comment").or_insert_with(|| json!(format!("layerID: {layer}")));
        }
    }
    Ok(())
}

/// The digest of the highest layer that has each path; a deletion takes nothing away from it, since nobody lists what is not there.
fn by_path<'a>(store: &Store, manifest: &'a Manifest) -> Result<BTreeMap<Vec<u8>, &'a str>, Error> {
    let mut found = BTreeMap::new();
    for blob in &manifest.layers {
        let doing = |error| Error::system(format!("read layer {}", blob.digest), error);
        let compression = Compression::of_media_type(&blob.media_type).unwrap_or(Compression::None);
        let tar = layer::decoder(store.open_blob(&blob.digest)?, compression).map_err(doing)?;
        for path in layer::paths(tar).map_err(doing)? {
            found.insert(path, blob.digest.as_str());
        }
    }
    Ok(found)
}

/// Scanners write `/bin/sh`, `./bin/sh` or `bin/sh`.
fn plain(name: &str) -> Vec<u8> {
    let parts = Path::new(name).components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    });
    parts.collect::<Vec<String>>().join("/").into_bytes()
}
