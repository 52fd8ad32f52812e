//! What a build says of itself: its provenance and its lists of contents, as in-toto statements that the image's index carries.
//!
//! The predicates are those that BuildKit documents, so that what reads its images reads ours. Invariant: nothing is said that
//! the caller did not hand in; without times two builds of the same inputs say the same, byte for byte.

mod facts;
mod package;
mod predicate;
mod statement;
mod steps;

pub use facts::{Facts, Mode, Provenance, Request, Source, Times, Version};
pub use statement::{Attestation, FileSubject, Storage, index, written};

use serde_json::{Value, json};

/// Something by its content: an algorithm's name and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// `sha256`, `sha1`.
    pub algorithm: String,
    /// The digits.
    pub digits: String,
}

impl Sum {
    /// Of a git commit: SHA-1, or SHA-256 in newer repositories.
    #[must_use]
    pub fn of_commit(commit: &str) -> Self {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        Self { algorithm: algorithm.to_owned(), digits: commit.to_owned() }
    }

    /// `algorithm:digits` taken apart.
    #[must_use]
    pub fn of_digest(digest: &str) -> Self {
        let (algorithm, digits) = digest.split_once(':').unwrap_or(("sha256", digest));
        Self { algorithm: algorithm.to_owned(), digits: digits.to_owned() }
    }

    fn json(&self) -> Value {
        json!({ self.algorithm.as_str(): self.digits })
    }
}

/// Sets a member of an object.
fn put(object: &mut Value, name: &str, member: Value) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), member);
    }
}

/// An address without the user's name and password, which are nobody else's.
fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        None => address.to_owned(),
        Some((user, host)) if user.contains(':') => format!("{scheme}://xxxxx:xxxxx@{host}{path}"),
        // `ssh://git@host`: a name alone is how such servers are asked, and no secret.
        Some(("git", _)) => address.to_owned(),
        Some((_, host)) => format!("{scheme}://xxxxx@{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_said_without_its_credentials() {
        for (address, expected) in [
            ("https://h/a@b", "https://h/a@b"),
            ("https://me:secret@h/a", "https://xxxxx:xxxxx@h/a"),
            ("https://token@h/a", "https://xxxxx@h/a"),
            ("ssh://git@h/a", "ssh://git@h/a"),
            ("git@h:a", "git@h:a"),
        ] {
            assert_eq!(redacted(address), expected);
        }
    }
}
