//! Layers that were compressed in another way: whatever names them has to name them as the image has them now.

use std::collections::BTreeMap;

use serde_json::Value;

use super::manifest::Document;
use crate::error::Error;
use crate::store::{Descriptor, Store};

/// By the digest that it had, each layer as it is now.
pub type Moved = BTreeMap<String, Descriptor>;

/// From the layers of an image, and the same ones now.
#[must_use]
pub fn moved(before: &[Descriptor], after: &[Descriptor]) -> Moved {
    let pairs = before.iter().zip(after).filter(|(before, after)| before.digest != after.digest);
    pairs.map(|(before, after)| (before.digest.to_string(), after.clone())).collect()
}

/// From an image, and the same one with other layers.
///
/// # Errors
/// A manifest that is not there or none.
pub fn moved_between(store: &Store, before: &Descriptor, after: &Descriptor) -> Result<Moved, Error> {
    if before.digest == after.digest {
        return Ok(Moved::new());
    }
    let layers = |image: &Descriptor| {
        Ok::<_, Error>(match Document::parse(&store.read_blob(&image.digest)?, "")? {
            Document::Manifest(manifest) => manifest.layers,
            Document::Index(_) => Vec::new(),
        })
    };
    Ok(moved(&layers(before)?, &layers(after)?))
}

/// Names them so in a document: in descriptors, and in words.
pub fn follow(document: &mut Value, moved: &Moved) {
    match document {
        Value::String(text) => {
            for (before, after) in moved {
                if text.contains(before) {
                    *text = text.replace(before, after.digest.as_str());
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| follow(value, moved)),
        Value::Object(fields) => {
            let now = fields.get("digest").and_then(Value::as_str).and_then(|digest| moved.get(digest));
            for (name, value) in fields.iter_mut() {
                match (now, name.as_str()) {
                    (Some(now), "mediaType") => *value = now.media_type.clone().into(),
                    (Some(now), "size") => *value = now.size.into(),
                    _ => follow(value, moved),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layer(kind: &str, digit: char, size: u64) -> Descriptor {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        serde_json::from_value(json!({"mediaType": kind, "digest": digest, "size": size})).unwrap()
    }

    #[test]
    fn descriptors_and_words_name_the_layer_as_it_is_now() {
        let (base, old, new) = (layer("zstd", 'a', 1), layer("zstd", 'b', 2), layer("gzip", 'c', 3));
        let moved = moved(&[base.clone(), old.clone()], &[base.clone(), new.clone()]);
        let mut document = json!({
            "layers": {"step1:0": [[base.clone(), old.clone()]]},
            "comment": format!("layerID: {}", old.digest),
            "size": 2,
        });
        follow(&mut document, &moved);
        let comment = format!("layerID: {}", new.digest);
        assert_eq!(document, json!({"layers": {"step1:0": [[base, new]]}, "comment": comment, "size": 2}));
    }
}
