//! The name of a container.

use std::fmt;

use crate::error::{Error, Kind};

/// A checked name: it can be one component of a path and one word on a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Letters, digits and `_+-.`, as runc has it; never `.` or `..`, and no longer than a file name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
        match text {
            "" => Err(Error::new(Kind::Invalid, "container id cannot be empty")),
            "." | ".." => Err(invalid()),
            text if !text.chars().all(allowed) => Err(invalid()),
            text if text.len() > 255 => {
                Err(Error::new(Kind::Invalid, "container id is longer than 255 characters"))
            }
            text => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn invalid() -> Error {
    Error::new(Kind::Invalid, "invalid container ID format")
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_harmless_word() {
        for good in ["a", "A_b+c-d.e", "0", "...", &"x".repeat(255)] {
            assert_eq!(ContainerId::parse(good).map(|id| id.to_string()).unwrap(), *good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\n", "ä", "a\0", &"x".repeat(1025)] {
            assert!(ContainerId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
