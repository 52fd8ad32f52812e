//! Manifests and indexes: what they point at, judged before anything is fetched for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind};
use crate::layer::Compression;
use crate::store::{Descriptor, Platform, media, nullable};

/// One image for one platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's; OCI manifests may leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub media_type: String,
    /// The image config.
    pub config: Descriptor,
    /// Lowest first.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
    /// Free text by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// Everything that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// The same image for several platforms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's; OCI indexes may leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub media_type: String,
    /// Manifests, each with its platform.
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
    /// Everything that this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What a name points at.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a few exist at a time")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

impl Document {
    /// Reads either. `said` is the type by which it came, empty where that is not known. A manifest of anything but an image is
    /// refused.
    pub fn parse(bytes: &[u8], said: &str) -> Result<Self, Error> {
        let document = Self::parse_any(bytes, said)?;
        if let Self::Manifest(manifest) = &document {
            manifest.check()?;
        }
        Ok(document)
    }

    /// As `parse`, but what an index has besides images is taken too.
    pub fn parse_any(bytes: &[u8], said: &str) -> Result<Self, Error> {
        let invalid = |why: String| Error::new(Kind::Invalid, format!("read a manifest: {why}"));
        let value: Value = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        let has = |name: &str| value.get(name).is_some_and(|field| !field.is_null());
        if has("manifests") && (has("layers") || has("config")) {
            return Err(Error::new(Kind::Attack, "read a manifest: it is a manifest and an index at once"));
        }
        if has("fsLayers") || value.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            let text = "read a manifest: its schema version is not 2";
            return Err(Error::new(Kind::Unsupported, text)
                .hint("the image is older than 2016 and must be pushed anew"));
        }
        let own = value.get("mediaType").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !own.is_empty() && !said.is_empty() && own != said {
            let text = format!(
                "read a manifest: it came as {} and says that it is {}",
                said.escape_debug(),
                own.escape_debug()
            );
            return Err(Error::new(Kind::Attack, text));
        }
        let kind = if own.is_empty() { said } else { &own };
        match kind {
            media::INDEX | media::DOCKER_LIST => Self::index(value),
            media::MANIFEST | media::DOCKER_MANIFEST => Self::manifest(value),
            "" if has("manifests") => Self::index(value),
            "" => Self::manifest(value),
            other => Err(invalid(format!("unknown media type {}", other.escape_debug()))),
        }
    }

    fn index(value: Value) -> Result<Self, Error> {
        serde_json::from_value(value).map(Self::Index).map_err(|error| not_valid(&error))
    }

    fn manifest(value: Value) -> Result<Self, Error> {
        serde_json::from_value(value).map(Self::Manifest).map_err(|error| not_valid(&error))
    }

    /// The media type that a descriptor of it has.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) if manifest.media_type.is_empty() => media::MANIFEST,
            Self::Manifest(manifest) => &manifest.media_type,
            Self::Index(index) if index.media_type.is_empty() => media::INDEX,
            Self::Index(index) => &index.media_type,
        }
    }
}

fn not_valid(error: &serde_json::Error) -> Error {
    Error::new(Kind::Invalid, format!("read a manifest: {error}"))
}

impl Manifest {
    /// A manifest of ours.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Self {
        let media_type = media::MANIFEST.to_owned();
        Self { schema_version: 2, media_type, config, layers, annotations, other: BTreeMap::new() }
    }

    /// Whether it is an image's, which can be unpacked.
    pub fn is_image(&self) -> bool {
        self.check().is_ok()
    }

    /// Only images: an artifact has a config or layers of other types, which nobody here could unpack.
    fn check(&self) -> Result<(), Error> {
        let unsupported = |what: &str, found: &str| {
            let text = format!("read a manifest: its {what} has the media type {}", found.escape_debug());
            Error::new(Kind::Unsupported, text).hint("it is not a container image")
        };
        if !matches!(self.config.media_type.as_str(), media::CONFIG | media::DOCKER_CONFIG) {
            return Err(unsupported("config", &self.config.media_type));
        }
        match self.layers.iter().find(|layer| Compression::of_media_type(&layer.media_type).is_none()) {
            Some(layer) => Err(unsupported("layer", &layer.media_type)),
            None => Ok(()),
        }
    }
}

impl Index {
    /// The manifest for `wanted`: an exact variant first, then one that suits. Attestations are no images.
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let images = || self.manifests.iter().filter(|manifest| !manifest.is_index());
        let exact = |manifest: &&Descriptor| {
            manifest.platform.as_ref().is_some_and(|own| own.suits(wanted) && own.variant == wanted.variant)
        };
        let suits = |manifest: &&Descriptor| manifest.platform.as_ref().is_some_and(|own| own.suits(wanted));
        // An index of one image may leave its platform out; the config says what it is.
        let only = || images().next().filter(|image| self.manifests.len() == 1 && image.platform.is_none());
        images().find(exact).or_else(|| images().find(suits)).or_else(only)
    }

    /// The images, without what is said of them.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|manifest| !manifest.is_attestation())
    }

    /// What there is to choose from, as a line.
    pub fn platforms(&self) -> String {
        let names = self.manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
        let known = names.filter(|platform| platform.os != "unknown").map(ToString::to_string);
        known.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Digest;

    fn error(json: &str, said: &str) -> String {
        Document::parse(json.as_bytes(), said).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_an_image_is_refused_with_the_reason() {
        let digest = Digest::of(b"");
        let config = format!(r#""config":{{"mediaType":"{}","digest":"{digest}","size":1}}"#, media::CONFIG);
        for (json, said, expected) in [
            ("{", "", "read a manifest: EOF while parsing an object at line 1 column 1"),
            (
                r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
                "",
                "read a manifest: it is a manifest and an index at once",
            ),
            (
                &format!(r#"{{"schemaVersion":2,"manifests":[],{config}}}"#),
                media::INDEX,
                "read a manifest: it is a manifest and an index at once",
            ),
            (
                r#"{"schemaVersion":1,"fsLayers":[]}"#,
                "",
                "read a manifest: its schema version is not 2 (the image is older than 2016 and must be pushed anew)",
            ),
            (
                &format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, media::INDEX),
                media::MANIFEST,
                "read a manifest: it came as application/vnd.oci.image.manifest.v1+json and says that it is application/vnd.oci.image.index.v1+json",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"text/html"}"#,
                "",
                "read a manifest: unknown media type text/html",
            ),
            (
                &format!(
                    r#"{{"schemaVersion":2,"config":{{"mediaType":"x/y","digest":"{digest}","size":1}}}}"#
                ),
                "",
                "read a manifest: its config has the media type x/y (it is not a container image)",
            ),
            (
                &format!(
                    r#"{{"schemaVersion":2,{config},"layers":[{{"mediaType":"x/z","digest":"{digest}","size":1}}]}}"#
                ),
                "",
                "read a manifest: its layer has the media type x/z (it is not a container image)",
            ),
            (
                r#"{"schemaVersion":2,"config":{"digest":"sha256:../x","size":1}}"#,
                "",
                "read a manifest: invalid digest \"sha256:../x\": expected 64 lower-case hexadecimal digits",
            ),
            (
                &format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}","size":-1}}}}"#),
                "",
                "read a manifest: invalid value: integer `-1`, expected u64",
            ),
        ] {
            assert_eq!(error(json, said), expected);
        }
    }

    #[test]
    fn the_platform_that_fits_best_is_selected() {
        let entry = |os: &str, architecture: &str, variant: &str| Descriptor {
            platform: Some(Platform::new(os, architecture, variant)),
            ..Descriptor::new(
                media::MANIFEST,
                Digest::of(format!("{os}{architecture}{variant}").as_bytes()),
                1,
            )
        };
        let index = Index {
            schema_version: 2,
            media_type: String::new(),
            manifests: vec![
                entry("unknown", "unknown", ""),
                entry("linux", "arm", "v6"),
                entry("linux", "arm", "v7"),
                entry("linux", "amd64", ""),
                entry("linux", "arm64", "v8"),
            ],
            other: BTreeMap::new(),
        };
        for (wanted, expected) in [
            ("linux/amd64", Some("linuxamd64")),
            ("linux/arm64", Some("linuxarm64v8")),
            ("linux/arm", Some("linuxarmv7")),
            ("linux/arm/v6", Some("linuxarmv6")),
            ("linux/s390x", None),
        ] {
            let found = index.select(&wanted.parse().unwrap()).map(|found| found.digest.clone());
            assert_eq!(found, expected.map(|text| Digest::of(text.as_bytes())), "{wanted}");
        }
        assert_eq!(index.platforms(), "linux/arm/v6, linux/arm/v7, linux/amd64, linux/arm64/v8");
    }
}
