//! Messages for people and engines, as runc writes them: logfmt, or one JSON object a line.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::error::{Error, Kind};
use crate::host::clock;

/// Where messages go.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// None is standard error.
    pub file: Option<PathBuf>,
    pub format: Format,
    pub level: Level,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The least that is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    #[default]
    Info,
    Warning,
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Log {
    /// Makes sure of the file before anything is done: a message that cannot be written helps nobody.
    pub fn open(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let opened = OpenOptions::new().append(true).create(true).open(file);
        opened.map(drop).map_err(|source| Error::system(format!("open log file {}", file.display()), source))
    }

    /// Parses `--log-format`.
    pub fn format(word: &str) -> Result<Format, Error> {
        match word {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(Error::new(Kind::Invalid, "invalid log-format: must be either 'text' or 'json'")),
        }
    }

    /// The one line at the end of a command that could not be carried out; with a log file, standard error gets it too.
    pub fn error(&self, error: &Error) {
        let text = error.to_string();
        self.write(Level::Error, &text);
        if self.file.is_some() {
            to_stderr(&format!("{text}\n"));
        }
    }

    /// What was asked for and is not done.
    pub fn warn(&self, text: &str) {
        self.write(Level::Warning, text);
    }

    /// Only with `--debug`.
    pub fn debug(&self, text: &str) {
        self.write(Level::Debug, text);
    }

    fn write(&self, level: Level, text: &str) {
        if level < self.level {
            return;
        }
        let line = line(self.format, (level, text), &clock::now_short());
        let opened = self.file.as_ref().map(|file| OpenOptions::new().append(true).create(true).open(file));
        match opened {
            // One write for one line: several runtimes may share the file.
            Some(Ok(mut file)) => drop(file.write_all(line.as_bytes())),
            Some(Err(_)) | None => to_stderr(&line),
        }
    }
}

fn to_stderr(text: &str) {
    // With standard error gone there is nobody left to tell.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn line(format: Format, (level, text): (Level, &str), time: &str) -> String {
    let level = level.word();
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(text)),
        Format::Json => {
            format!("{}\n", serde_json::json!({ "level": level, "msg": text, "time": time }))
        }
    }
}

/// Quoted where a reader of logfmt would otherwise see several words.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | '@' | '^' | '+');
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => {
            let escaped = text.chars().fold(String::new(), |text, c| match c {
                '"' => text + "\\\"",
                '\\' => text + "\\\\",
                '\n' => text + "\\n",
                '\t' => text + "\\t",
                c if c.is_control() => format!("{text}\\x{:02x}", u32::from(c)),
                c => {
                    let mut text = text;
                    text.push(c);
                    text
                }
            });
            format!("\"{escaped}\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_in_both_formats() {
        let text = line(Format::Text, (Level::Error, "exec: \"x\":\nno"), "T");
        assert_eq!(text, "time=\"T\" level=error msg=\"exec: \\\"x\\\":\\nno\"\n");
        let json = line(Format::Json, (Level::Warning, "a\nb"), "T");
        assert_eq!(json, "{\"level\":\"warning\",\"msg\":\"a\\nb\",\"time\":\"T\"}\n");
    }
}
