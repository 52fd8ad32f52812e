//! How a layer's tar is compressed.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind};
use crate::store::media;

/// The compression of a layer blob, with the level where one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, level 0 to 9.
    Gzip(u32),
    /// zstd, level 1 to 22.
    Zstd(i32),
}

impl Compression {
    /// What the media type of a layer says; `None` for one that is not a layer's.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            media::LAYER | media::DOCKER_LAYER => Some(Self::None),
            media::LAYER_GZIP | media::DOCKER_LAYER_GZIP => Some(Self::Gzip(6)),
            media::LAYER_ZSTD => Some(Self::Zstd(3)),
            other => match other.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")? {
                "" => Some(Self::None),
                "+gzip" => Some(Self::Gzip(6)),
                "+zstd" => Some(Self::Zstd(3)),
                _ => None,
            },
        }
    }

    /// What the first bytes of a file say; a plain tar has no mark at its beginning.
    pub fn of_magic(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip(6),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd(3),
            _ => Self::None,
        }
    }

    /// The OCI media type of a layer compressed like this.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => media::LAYER,
            Self::Gzip(_) => media::LAYER_GZIP,
            Self::Zstd(_) => media::LAYER_ZSTD,
        }
    }
}

impl Default for Compression {
    /// zstd 3: three times gzip's speed and smaller.
    fn default() -> Self {
        Self::Zstd(3)
    }
}

impl FromStr for Compression {
    type Err = Error;

    /// `none`, `gzip[:LEVEL]` or `zstd[:LEVEL]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why| {
            Error::new(Kind::Invalid, format!("invalid compression \"{}\": {why}", text.escape_debug()))
        };
        let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
        match (name, level.map(str::parse::<i32>)) {
            ("none" | "uncompressed", None) => Ok(Self::None),
            ("gzip", None) => Ok(Self::Gzip(6)),
            ("zstd", None) => Ok(Self::Zstd(3)),
            ("gzip", Some(Ok(level @ 0..=9))) => Ok(Self::Gzip(level.unsigned_abs())),
            ("zstd", Some(Ok(level @ 1..=22))) => Ok(Self::Zstd(level)),
            ("gzip", _) => Err(invalid("gzip has levels 0 to 9")),
            ("zstd", _) => Err(invalid("zstd has levels 1 to 22")),
            _ => Err(invalid("expected none, gzip or zstd")),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}
