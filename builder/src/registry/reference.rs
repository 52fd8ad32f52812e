//! Names of images: `[registry/]repository[:tag][@digest]`, in the grammar of the distribution project.
//!
//! Docker's defaults apply: no registry means `docker.io`, one word there means `library/` before it, neither tag
//! nor digest means `latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::store::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const OFFICIAL: &str = "library/";
const LONGEST_NAME: usize = 255;

/// A full name of an image. `Display` is the canonical text, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// `docker.io`, `localhost:5000`...
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// `library/python`: the path inside the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; absent only where a digest was given without one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that pins it.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as people write it: Docker's defaults left out.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }

    /// Registry and repository as people write them.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        match self.repository.strip_prefix(OFFICIAL) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// The same image pinned to `digest`.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| {
            Error::new(Kind::Invalid, format!("invalid image name \"{}\": {why}", text.escape_debug()))
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid(
                "a tag is up to 128 letters, digits, '_', '.', '-' and starts with none of '.', '-'",
            ));
        }
        if name.is_empty() {
            return Err(invalid("the name is empty"));
        }
        if digest.is_none() && tag.is_none() && crate::store::is_hex(name) {
            return Err(invalid("64 hexadecimal digits are an image id"));
        }
        let (registry, path) = split_registry(name);
        if let Some(registry) = registry
            && !is_registry(registry)
        {
            return Err(invalid("the registry is not host[:port]"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid("the repository must be lower case"));
        }
        if !path.split('/').all(is_component) {
            return Err(invalid(
                "the repository has parts that are not letters and digits joined by '.', '_', '__' or '-'",
            ));
        }
        let registry = match registry {
            None | Some("index.docker.io" | "registry-1.docker.io") => DEFAULT_REGISTRY,
            Some(named) => named,
        };
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
        if registry.len() + 1 + repository.len() > LONGEST_NAME {
            return Err(invalid("the name is longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// The last colon starts a tag unless a slash follows it: then it is a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !tag.ends_with(']') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// The first part is a registry when it could not be a user: a dot, a port, `localhost`, or a capital in it.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match after.strip_prefix(':') {
                Some(port) => return is_port(port),
                None => return after.is_empty(),
            }
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

/// Runs of letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends_well = text.starts_with(is_word) && text.ends_with(is_word);
    let joins = text.split(is_word).filter(|join| !join.is_empty());
    ends_well
        && joins.into_iter().all(|join| matches!(join, "." | "_" | "__") || join.bytes().all(|b| b == b'-'))
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn defaults_are_filled_in_and_left_out_again() {
        let pinned = format!("python@sha256:{HEX}");
        let both = format!("quay.io/a/b:c@sha256:{HEX}");
        for (text, canonical, familiar) in [
            ("python", "docker.io/library/python:latest", "python:latest"),
            ("python:3.10-rc-buster", "docker.io/library/python:3.10-rc-buster", "python:3.10-rc-buster"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("localhost/app:1", "localhost/app:1", "localhost/app:1"),
            ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("[::1]/app:2", "[::1]/app:2", "[::1]/app:2"),
            ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
            ("a__b/c-.-d".trim_end_matches(".-d"), "", ""),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            (&pinned, &format!("docker.io/library/python@sha256:{HEX}"), &pinned),
            (&both, &both, &both),
        ] {
            let Ok(reference) = text.parse::<Reference>() else {
                assert_eq!(canonical, "", "{text}");
                continue;
            };
            assert_eq!(reference.to_string(), canonical);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(canonical.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_the_reason() {
        let long = "a/".repeat(130) + "b";
        for (text, why) in [
            ("", "the name is empty"),
            (":tag", "the name is empty"),
            ("Python", "the repository must be lower case"),
            (
                "a//b",
                "the repository has parts that are not letters and digits joined by '.', '_', '__' or '-'",
            ),
            ("../etc", "the registry is not host[:port]"),
            (
                "a/../b",
                "the repository has parts that are not letters and digits joined by '.', '_', '__' or '-'",
            ),
            (
                "a..b",
                "the repository has parts that are not letters and digits joined by '.', '_', '__' or '-'",
            ),
            ("a:-x", "a tag is up to 128 letters, digits, '_', '.', '-' and starts with none of '.', '-'"),
            ("a:", "a tag is up to 128 letters, digits, '_', '.', '-' and starts with none of '.', '-'"),
            ("localhost:99999/a", "the registry is not host[:port]"),
            ("[::1/a", "the registry is not host[:port]"),
            ("-x.y/a", "the registry is not host[:port]"),
            (HEX, "64 hexadecimal digits are an image id"),
            (&long, "the name is longer than 255 characters"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert_eq!(error, format!("invalid image name \"{text}\": {why}"));
        }
        assert!("a@sha256:../../x".parse::<Reference>().is_err());
        assert!(
            "a\n".parse::<Reference>().unwrap_err().to_string().starts_with("invalid image name \"a\\n\"")
        );
    }
}
