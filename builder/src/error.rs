//! The one error type of the builder: what was being done to what, the cause, and a hint.
//!
//! `kind` is for code, the text is for people. `Display` gives the single line that a person reads.

use std::fmt;

/// What sort of failure it was; decides exit codes and whether a fallback may be considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The input breaks a rule of the specification or of the command line.
    Invalid,
    /// A valid request that this builder, kernel or host cannot carry out.
    Unsupported,
    /// The kernel, the file system or a registry refused.
    System,
    /// An image, a layer or a context tried to lead the builder somewhere else.
    Attack,
}

/// `doing` is an infinitive phrase ("mount /srv/data on /mnt"), without "failed to" and without a full stop.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    doing: String,
    hint: Option<String>,
    excerpt: Option<String>,
    source: Option<std::io::Error>,
}

impl Error {
    /// A refusal whose reason is already in `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, doing: message.into(), hint: None, excerpt: None, source: None }
    }

    /// A failed system call: `doing` names the deed and the object, the operating system's text comes last.
    pub fn system(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self {
            kind: Kind::System,
            doing: doing.into(),
            hint: None,
            excerpt: None,
            source: Some(source.into()),
        }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says at what larger deed it happened: `doing` comes before the message.
    #[must_use]
    pub fn during(mut self, doing: &str) -> Self {
        self.doing = format!("{doing}: {}", self.doing);
        self
    }

    /// Adds the lines of the input that the message is about, with a caret; printed below the message.
    #[must_use]
    pub fn excerpt(mut self, lines: impl Into<String>) -> Self {
        self.excerpt = Some(lines.into());
        self
    }

    /// The lines of the input that the message is about.
    pub fn shown_excerpt(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The raw errno where the cause was a system call.
    pub fn errno(&self) -> Option<i32> {
        self.source.as_ref().and_then(std::io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_logins(&self.doing))?;
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

/// Addresses may have a login in them (`https://token@host/`), and an error ends in logs. Who logs in by ssh is no secret.
fn without_logins(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c == '/' || c == '"' || c.is_whitespace()).unwrap_or(after.len());
        let (authority, further) = after.split_at(end);
        shown.push_str(before);
        shown.push_str("://");
        match authority.rsplit_once('@') {
            Some((login, host)) if login.contains(':') || !before.ends_with("ssh") => {
                shown.push_str("***@");
                shown.push_str(host);
            }
            _ => shown.push_str(authority),
        }
        rest = further;
    }
    shown.push_str(rest);
    shown
}

/// The operating system's texts begin with a capital, which reads oddly after a colon.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_an_address_is_not_told() {
        for (text, expected) in [
            (
                "run git fetch for https://u:secret@h.example/r.git: no",
                "run git fetch for https://***@h.example/r.git: no",
            ),
            (
                "download http://secret@h.example: HTTP status 404",
                "download http://***@h.example: HTTP status 404",
            ),
            (
                "a https://h.example/@x b ssh://git@h.example/r",
                "a https://h.example/@x b ssh://git@h.example/r",
            ),
            ("lay out ssh://u:secret@h.example/r", "lay out ssh://***@h.example/r"),
            ("://", "://"),
        ] {
            assert_eq!(Error::new(Kind::System, text).to_string(), expected);
        }
    }
}
