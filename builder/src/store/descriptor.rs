//! What a blob is and where an image runs: the OCI descriptor and platform.
//!
//! These are the package's own types because a manifest that we copy must keep the fields that we do not know.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::error::{Error, Kind};

/// Media types of the OCI image format and of Docker's schema 2.
pub mod media {
    /// OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, not compressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's index.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, not compressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// The annotation by which an index says what an entry is that is no image.
    pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
    /// The image that such an entry is about.
    pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
    /// What is said of an image.
    pub const ATTESTATION: &str = "attestation-manifest";
}

/// Points at a blob and says what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Its content address.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// For what the image was made; only in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free text by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::nullable")]
    pub annotations: BTreeMap<String, String>,
    /// Everything that this version does not know, kept as it is.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Descriptor {
    /// A descriptor of these three and nothing else.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    /// Whether it points at what is said of an image, in the image's index.
    pub fn is_attestation(&self) -> bool {
        self.annotations.get(media::REFERENCE_TYPE).is_some_and(|kind| kind == media::ATTESTATION)
    }

    /// Whether it points at an index, OCI's or Docker's.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), media::INDEX | media::DOCKER_LIST)
    }
}

/// Operating system and processor, in Go's names (`linux`, `amd64`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `riscv64`...
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `v7`, `v8`...; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "super::nullable")]
    pub variant: String,
    /// Everything else (`os.version`, `os.features`), kept as it is.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self::new("linux", architecture, variant)
    }

    /// From Go's names.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.to_owned(),
            other: BTreeMap::new(),
        }
    }

    /// Whether an image made for `self` runs where `wanted` is asked for. A missing variant means the usual one
    /// (`v8` on arm64, `v7` on arm), as in Docker.
    pub fn suits(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && self.usual_variant() == wanted.usual_variant()
    }

    fn usual_variant(&self) -> &str {
        match (self.architecture.as_str(), self.variant.as_str()) {
            ("arm64", "" | "v8") => "v8",
            ("arm", "") => "v7",
            ("amd64", "v1") => "",
            (_, variant) => variant,
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/arch[/variant]`, or `arch` alone; Docker's and uname's names for a processor are taken too.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::new(Kind::Invalid, format!("invalid platform \"{}\"", text.escape_debug()))
                .hint("write os/arch[/variant], as in linux/arm64")
        };
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(is_word) {
            return Err(invalid());
        }
        let (os, architecture, variant) = match parts.as_slice() {
            ["linux"] => return Ok(Self::host()),
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return Err(invalid()),
        };
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64", v) => ("amd64", v),
            ("aarch64", v) => ("arm64", v),
            ("i386" | "i686", v) => ("386", v),
            ("armhf", "") => ("arm", "v7"),
            ("armel", "") => ("arm", "v6"),
            known => known,
        };
        let variant = if architecture == "arm64" && variant == "v8" { "" } else { variant };
        Ok(Self::new(os, architecture, variant))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_in_every_usual_spelling() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("armhf", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "linux/", "/", "a/b/c/d", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_variant_means_the_usual_one() {
        let arm64 = Platform::new("linux", "arm64", "");
        assert!(Platform::new("linux", "arm64", "v8").suits(&arm64));
        assert!(Platform::new("linux", "arm", "v7").suits(&Platform::new("linux", "arm", "")));
        assert!(!Platform::new("linux", "arm", "v6").suits(&Platform::new("linux", "arm", "")));
        assert!(!Platform::new("linux", "amd64", "").suits(&arm64));
    }

    #[test]
    fn unknown_fields_of_a_descriptor_are_kept() {
        let text = format!(
            r#"{{"mediaType":"a/b","digest":"{}","size":3,"artifactType":"x/y","urls":["http://a"]}}"#,
            Digest::of(b"abc")
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&descriptor).unwrap(), text);
    }
}
