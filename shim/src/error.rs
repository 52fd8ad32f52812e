//! What went wrong, and the code that a ttrpc client gets for it.

use std::fmt;
use std::io;

use nix::errno::Errno;
use ttrpc::proto::{Code, Status};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Invalid,
    NotFound,
    Exists,
    Precondition,
    Unsupported,
    /// More than there is room for.
    Exhausted,
    /// The kernel, or the runtime, said no. Clients see it as "unknown", as they do with runc's shim.
    System,
}

/// One line: what was being done, and the operating system's or the runtime's answer.
#[derive(Debug)]
pub(crate) struct Error {
    kind: Kind,
    doing: String,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: Kind, doing: impl Into<String>) -> Error {
        Error { kind, doing: doing.into(), source: None }
    }

    pub(crate) fn system(doing: impl Into<String>, source: io::Error) -> Error {
        Error { kind: Kind::System, doing: doing.into(), source: Some(source) }
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn status(&self) -> Status {
        let code = match self.kind {
            Kind::Invalid => Code::INVALID_ARGUMENT,
            Kind::NotFound => Code::NOT_FOUND,
            Kind::Exists => Code::ALREADY_EXISTS,
            Kind::Precondition => Code::FAILED_PRECONDITION,
            Kind::Unsupported => Code::UNIMPLEMENTED,
            Kind::Exhausted => Code::RESOURCE_EXHAUSTED,
            Kind::System => Code::UNKNOWN,
        };
        Status { code: code.into(), message: self.to_string(), ..Status::default() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            None => f.write_str(&self.doing),
            Some(error) => match error.raw_os_error() {
                Some(number) => write!(f, "{}: {}", self.doing, Errno::from_raw(number).desc()),
                None => write!(f, "{}: {error}", self.doing),
            },
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

/// Adds what was being done to an `io::Result`.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::system(what(), source))
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|errno| Error::system(what(), errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_systems_words_come_last_and_without_a_number() {
        let error = Error::system("open /x", io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "open /x: No such file or directory");
        assert_eq!(error.status().code.enum_value(), Ok(Code::UNKNOWN));
    }
}
