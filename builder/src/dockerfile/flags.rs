//! The `--name=value` words between a keyword and its arguments.

use super::ast::{Switch, Word};
use super::diagnose;
use super::lexer::Statement;
use super::source::Source;
use crate::error::Error;

/// A flag as written.
#[derive(Debug, Clone)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) word: Word,
}

/// The flags at `start` of the statement's text, and where the arguments begin.
pub(super) fn read(statement: &Statement, start: usize, escape: char) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut at = start;
    loop {
        let rest = statement.text.get(at..).unwrap_or_default();
        at += rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, at);
        }
        let length = word_length(rest, escape);
        let written = rest.get(..length).unwrap_or(rest);
        if written == "--" {
            let gap = rest.get(length..).unwrap_or_default();
            return (flags, at + length + (gap.len() - gap.trim_start().len()));
        }
        flags.push(flag(statement, at, written, escape));
        at += length;
    }
}

fn flag(statement: &Statement, at: usize, written: &str, escape: char) -> Flag {
    let plain = unquote(written.trim_start_matches("--"), escape);
    let (name, value) = match plain.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (plain, None),
    };
    let word = Word { text: written.to_owned(), place: statement.locate(at, at + written.len()) };
    Flag { name, value, word }
}

/// Bytes up to the first white space outside quotes.
fn word_length(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == escape => drop(letters.next()),
            '"' | '\'' if quote == Some(letter) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(letter),
            _ if letter.is_whitespace() && quote.is_none() => return at,
            _ => {}
        }
    }
    text.len()
}

/// Quotes go, except those inside the value of `--mount`, which is comma-separated text with its own quotes.
fn unquote(text: &str, escape: char) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            _ if letter == escape => out.push(letters.next().unwrap_or(escape)),
            '"' | '\'' if quote == Some(letter) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(letter),
            _ => out.push(letter),
        }
    }
    out
}

/// Flags of one instruction, taken out one by one; what is left at the end is unknown.
pub(super) struct Flags<'a> {
    pub(super) source: &'a Source,
    pub(super) left: Vec<Flag>,
    pub(super) known: Vec<&'static str>,
}

impl Flags<'_> {
    /// Every value of a flag that may stand several times.
    pub(super) fn all(&mut self, name: &'static str) -> Result<Vec<Word>, Error> {
        self.known.push(name);
        let mut found = Vec::new();
        for flag in std::mem::take(&mut self.left) {
            if flag.name == name {
                found.push(self.value(flag)?);
            } else {
                self.left.push(flag);
            }
        }
        Ok(found)
    }

    /// The value of a flag that may stand once.
    pub(super) fn one(&mut self, name: &'static str) -> Result<Option<Word>, Error> {
        let mut found = self.all(name)?.into_iter();
        let first = found.next();
        match found.next() {
            Some(second) => {
                Err(diagnose::at(self.source, second.place, format!("flag --{name} stands here twice")))
            }
            None => Ok(first),
        }
    }

    /// A flag that is on or off.
    pub(super) fn switch(&mut self, name: &'static str) -> Result<Option<(&'static str, Switch)>, Error> {
        self.known.push(name);
        let Some(at) = self.left.iter().position(|flag| flag.name == name) else { return Ok(None) };
        let flag = self.left.remove(at);
        let state = match flag.value.as_deref() {
            None | Some("true" | "1") => Switch::On,
            Some("false" | "0") => Switch::Off,
            Some(other) => {
                let message = format!("flag --{name} is true or false, not {other}");
                return Err(diagnose::at(self.source, flag.word.place, message));
            }
        };
        Ok(Some((name, state)))
    }

    /// Nothing may be left.
    pub(super) fn end(self, keyword: &str) -> Result<(), Error> {
        let Some(flag) = self.left.first() else { return Ok(()) };
        let near = diagnose::nearest(&flag.name, self.known.iter().copied());
        let near = near.map_or_else(String::new, |name| format!(" (did you mean --{name}?)"));
        let message = format!("{keyword} has no flag --{}{near}", flag.name);
        Err(diagnose::at(self.source, flag.word.place, message))
    }

    fn value(&self, flag: Flag) -> Result<Word, Error> {
        match flag.value {
            Some(text) => Ok(Word { text, place: flag.word.place }),
            None => {
                let message = format!("flag --{} needs a value", flag.name);
                Err(diagnose::at(self.source, flag.word.place, message).hint(format!("--{}=...", flag.name)))
            }
        }
    }
}
