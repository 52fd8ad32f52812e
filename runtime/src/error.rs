//! The one error type of the runtime: what was being done to what, the cause, and a hint.
//!
//! `kind` is for code, the text is for people. `Display` gives the single line that a person reads.

use std::fmt;

/// What sort of failure it was; decides exit codes and whether a fallback may be considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The input breaks a rule of the specification or of the command line.
    Invalid,
    /// A valid request that this runtime, kernel or host cannot carry out.
    Unsupported,
    /// The kernel or the file system refused.
    System,
    /// The container's files tried to lead the runtime somewhere else.
    Attack,
}

/// `doing` is an infinitive phrase ("mount /srv/data on /mnt"), without "failed to" and without a full stop.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    doing: String,
    hint: Option<String>,
    source: Option<std::io::Error>,
}

impl Error {
    /// A refusal whose reason is already in `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, doing: message.into(), hint: None, source: None }
    }

    /// A failed system call: `doing` names the deed and the object, the operating system's text comes last.
    pub fn system(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self { kind: Kind::System, doing: doing.into(), hint: None, source: Some(source.into()) }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Of another sort than a system call's failure is by itself.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was being done, without cause and hint.
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// What the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The raw errno where the cause was a system call.
    pub fn errno(&self) -> Option<i32> {
        self.source.as_ref().and_then(std::io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        if let Some(source) = &self.source {
            let text = source.to_string();
            let plain = text.find(" (os error").and_then(|at| text.get(..at)).unwrap_or(&text);
            write!(f, ": {}", lower_first(plain))?;
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Engines match these texts case-sensitively in lower case, as Go prints them.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}
