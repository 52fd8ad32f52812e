//! A layer in another compression: its content stays, so the same container comes of it.

use std::collections::BTreeMap;
use std::io;

use super::cache::INLINE;
use super::manifest::{Document, Manifest};
use super::moved::{Moved, follow, moved};
use super::stored::{parse_config, put_raw};
use crate::error::{Error, Kind};
use crate::layer::{Compression, Encoder, decoder};
use crate::store::{Descriptor, Digest, Key, Record, Store, media};

/// The layer compressed as asked, remembered for the next time. One that is compressed in that way already, at whatever level,
/// stays as it is.
///
/// # Errors
/// A blob that is no layer; the store's.
pub fn in_compression(
    store: &Store,
    layer: &Descriptor,
    compression: Compression,
) -> Result<Descriptor, Error> {
    let doing = || format!("recompress layer {}", layer.digest.short());
    let found = Compression::of_media_type(&layer.media_type).ok_or_else(|| {
        Error::new(Kind::Unsupported, format!("{}: unknown media type {}", doing(), layer.media_type))
    })?;
    if std::mem::discriminant(&found) == std::mem::discriminant(&compression) {
        return Ok(layer.clone());
    }
    let key = Key::from(&Digest::of(format!("recompressed\0{}\0{compression}", layer.digest).as_bytes()));
    if let Some(record) = store.record(&key)?
        && let Ok(known) = serde_json::from_value::<Descriptor>(record.body)
    {
        return Ok(known);
    }
    let failed = |error| Error::system(doing(), error);
    let mut tar = decoder(store.open_blob(&layer.digest)?, found).map_err(failed)?;
    let mut encoder = Encoder::new(store.blob_writer()?, compression).map_err(failed)?;
    io::copy(&mut tar, &mut encoder).map_err(failed)?;
    let made = encoder.finish().map_err(failed)?.commit(compression.media_type())?;
    let body = serde_json::to_value(&made).map_err(|error| failed(io::Error::from(error)))?;
    store.put_record(&key, &Record { blobs: vec![made.digest.clone()], body, ..Record::default() })?;
    Ok(made)
}

/// The image, or each image of an index, with every layer compressed as asked but the first `kept` ones.
///
/// # Errors
/// As `in_compression`.
pub fn recompress(
    store: &Store,
    image: &Descriptor,
    compression: Compression,
    kept: usize,
) -> Result<Descriptor, Error> {
    let manifest = match Document::parse(&store.read_blob(&image.digest)?, "")? {
        Document::Manifest(manifest) => manifest,
        Document::Index(mut index) => {
            let before = index.manifests.clone();
            for child in index.manifests.iter_mut().filter(|child| !child.is_attestation()) {
                *child = recompress(store, child, compression, kept)?;
            }
            if index.manifests == before {
                return Ok(image.clone());
            }
            if before.iter().any(Descriptor::is_attestation) {
                let text = "recompress: the image has attestations, which are about its layers as they are";
                return Err(Error::new(Kind::Unsupported, text)
                    .hint("leave the compression as it is, or give it to the build that attests"));
            }
            let bytes = serde_json::to_vec(&index)
                .map_err(|error| Error::new(Kind::Invalid, format!("write an index: {error}")))?;
            let made = store.put_blob(media::INDEX, &bytes)?;
            return Ok(Descriptor { digest: made.digest, size: made.size, ..image.clone() });
        }
    };
    let layers = manifest.layers.iter().enumerate().map(|(at, layer)| match at < kept {
        true => Ok(layer.clone()),
        false => in_compression(store, layer, compression),
    });
    let layers = layers.collect::<Result<Vec<Descriptor>, Error>>()?;
    if layers == manifest.layers {
        return Ok(image.clone());
    }
    let bytes = store.read_blob(&manifest.config.digest)?;
    let config = parse_config(&bytes, &manifest)?;
    let of_config = match config.other.contains_key(INLINE) {
        true => with_cache_of(store, &bytes, &moved(&manifest.layers, &layers))?,
        // The config's own bytes stay: only its media type is OCI's, as zstd layers ask for.
        false => Descriptor { media_type: media::CONFIG.to_owned(), ..manifest.config.clone() },
    };
    let annotations: BTreeMap<String, String> = manifest.annotations.clone();
    let made = put_raw(store, &Manifest::new(of_config, layers, annotations), &config)?;
    Ok(Descriptor {
        annotations: image.annotations.clone(),
        platform: image.platform.clone().or(made.platform.clone()),
        ..made
    })
}

/// The config, whose cache names the layers as they are now.
fn with_cache_of(store: &Store, config: &[u8], moved: &Moved) -> Result<Descriptor, Error> {
    let failed = |error| Error::new(Kind::Invalid, format!("rewrite the cache in the image: {error}"));
    let mut config: serde_json::Value = serde_json::from_slice(config).map_err(failed)?;
    if let Some(records) = config.get_mut(INLINE) {
        follow(records, moved);
    }
    store.put_blob(media::CONFIG, &serde_json::to_vec(&config).map_err(failed)?)
}
