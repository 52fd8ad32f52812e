//! Parser directives: the `# key=value` lines at the very top.

use super::diagnose;
use super::source::{Place, Source};
use crate::error::Error;

/// What the directives say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `syntax=`: noted; the language is built in.
    pub syntax: Option<String>,
    /// `escape=`: the character that continues lines and escapes characters.
    pub escape: char,
    /// `check=`: which lint rules are off, and whether warnings are errors.
    pub check: Check,
}

/// The value of `check=skip=A,B;error=true`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Rules that are off.
    pub skip: Rules,
    /// Warnings end the build.
    pub error: bool,
    /// Rules that are on only here.
    pub experimental: Rules,
}

/// Some lint rules, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// Those named.
    Named(Vec<String>),
    /// Every one.
    All,
}

impl Default for Rules {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

/// The directives and the offset of the first line after them.
pub(super) fn read(source: &Source) -> Result<(Directives, usize), Error> {
    let mut found = Directives { syntax: None, escape: '\\', check: Check::default() };
    let mut seen: Vec<String> = Vec::new();
    // A byte order mark is no part of the language.
    let mut at = if source.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    for line in source.text.get(at..).unwrap_or_default().split_inclusive('\n') {
        let Some((key, value)) = split(line) else { break };
        if !["syntax", "escape", "check"].contains(&key.as_str()) {
            break;
        }
        let place = Place { start: at, end: at + line.trim_end().len() };
        if seen.contains(&key) {
            return Err(diagnose::at(source, place, format!("directive {key} stands here twice")));
        }
        match key.as_str() {
            "syntax" => found.syntax = Some(value.to_owned()),
            "escape" => found.escape = escape(source, place, value)?,
            _ => found.check = parse_check(value).map_err(|message| diagnose::at(source, place, message))?,
        }
        seen.push(key);
        at += line.len();
    }
    Ok((found, at))
}

fn split(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric())
        && !value.is_empty();
    named.then(|| (key.to_ascii_lowercase(), value))
}

fn escape(source: &Source, place: Place, value: &str) -> Result<char, Error> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => Err(diagnose::at(source, place, format!("escape character {value} is neither \\ nor `"))),
    }
}

/// Reads `skip=A,B;error=true`.
///
/// # Errors
/// A sentence about an option that is none.
pub fn parse_check(value: &str) -> Result<Check, String> {
    let mut found = Check::default();
    for part in value.split(';') {
        match part.trim().split_once('=') {
            Some(("skip", rules)) => found.skip = named(rules),
            Some(("experimental", rules)) => found.experimental = named(rules),
            Some(("error", "true")) => found.error = true,
            Some(("error", "false")) => found.error = false,
            _ => return Err(format!("check option {part} is not known: skip=, experimental= or error=")),
        }
    }
    Ok(found)
}

fn named(rules: &str) -> Rules {
    match rules.trim() {
        "all" => Rules::All,
        rules => Rules::Named(rules.split(',').map(|rule| rule.trim().to_owned()).collect()),
    }
}
