//! Content addresses: `sha256:` and 64 lower-case hexadecimal digits, and nothing else.
//!
//! A digest becomes a file name, so parsing is the only way to get one from outside.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind};

const ALGORITHM: &str = "sha256:";

/// The sha256 of some content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The 64 hexadecimal digits, which are the blob's file name.
    pub fn hex(&self) -> &str {
        self.0.get(ALGORITHM.len()..).unwrap_or_default()
    }

    /// The first 12 hexadecimal digits, as people write image ids.
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or_default()
    }

    /// `sha256:` and the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| {
            Error::new(Kind::Invalid, format!("invalid digest \"{}\": {why}", text.escape_debug()))
        };
        let Some(hex) = text.strip_prefix(ALGORITHM) else {
            return Err(match text.split_once(':') {
                Some(("sha384" | "sha512", _)) => Error::new(
                    Kind::Unsupported,
                    format!("unsupported digest algorithm in \"{}\"", text.escape_debug()),
                ),
                _ => invalid("expected sha256: and 64 hexadecimal digits"),
            });
        };
        if is_hex(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid("expected 64 lower-case hexadecimal digits"))
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Exactly 64 lower-case hexadecimal digits.
pub(crate) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A sha256 in the making, with the number of bytes that went in.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    size: u64,
}

impl Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
    }

    /// Bytes hashed so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        let mut text = String::with_capacity(ALGORITHM.len() + 64);
        text.push_str(ALGORITHM);
        for byte in self.state.finalize() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Digest(text)
    }
}

/// Hashes what passes through a reader or a writer.
pub struct Hashed<T> {
    through: T,
    hasher: Hasher,
}

impl<T> Hashed<T> {
    /// Wraps `through`.
    pub fn new(through: T) -> Self {
        Self { through, hasher: Hasher::new() }
    }

    /// The stream back, and the hash of what passed.
    pub fn finish(self) -> (T, Hasher) {
        (self.through, self.hasher)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.through.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.through.write(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.through.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_with_64_lower_case_digits_is_a_digest() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            &empty.to_uppercase(),
            &empty[..70],
            "md5:00",
            "sha256:é",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert_eq!(
            "sha512:00".parse::<Digest>().unwrap_err().to_string(),
            "unsupported digest algorithm in \"sha512:00\""
        );
    }
}
