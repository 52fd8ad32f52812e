//! Statements to stages and instructions.

use super::ast::{File, Instruction, Kind, Stage, Word};
use super::diagnose;
use super::flags::{self, Flags};
use super::instruction;
use super::lexer::{self, Statement};
use super::source::{Place, Source};
use crate::error::Error;

/// Every keyword of the language.
pub const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Parses a whole Dockerfile.
///
/// # Errors
/// The first mistake, at its place.
pub fn parse(source: &Source) -> Result<File, Error> {
    let lexed = lexer::lex(source)?;
    let escape = lexed.directives.escape;
    let mut file = File { directives: lexed.directives, globals: Vec::new(), stages: Vec::new() };
    for statement in lexed.statements {
        let reader = Reader::new(source, &statement, escape);
        if reader.keyword.text.eq_ignore_ascii_case("FROM") {
            file.stages.push(from(&reader)?);
            continue;
        }
        let parsed = instruction::parse(&reader)?;
        match file.stages.last_mut() {
            Some(stage) => stage.instructions.push(parsed),
            None if matches!(parsed.kind, Kind::Arg(_)) => file.globals.push(parsed),
            None => {
                let message = format!("no build stage: {} stands before the first FROM", parsed.keyword.text);
                return Err(diagnose::at(source, parsed.keyword.place, message));
            }
        }
    }
    if file.stages.is_empty() {
        return Err(diagnose::at(source, Place::default(), "the file has no FROM")
            .hint("begin with FROM and an image, or FROM scratch"));
    }
    Ok(file)
}

/// Parses one instruction of a base image's ONBUILD list.
///
/// # Errors
/// The first mistake, at its place.
pub fn parse_trigger(text: &str) -> Result<(Source, Instruction), Error> {
    let source = Source { name: "ONBUILD".to_owned(), text: text.to_owned() };
    let lexed = lexer::lex(&source)?;
    let [statement] = lexed.statements.as_slice() else {
        return Err(diagnose::at(&source, Place::default(), "one instruction is expected"));
    };
    let parsed = instruction::parse(&Reader::new(&source, statement, '\\'))?;
    Ok((source, parsed))
}

/// A statement being read.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) statement: &'a Statement,
    pub(super) escape: char,
    pub(super) keyword: Word,
    flags: Vec<flags::Flag>,
    /// Offset of the arguments in the statement's text.
    pub(super) start: usize,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source, statement: &'a Statement, escape: char) -> Self {
        let text = &statement.text;
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let word = text.get(..end).unwrap_or_default().to_owned();
        let keyword = Word { text: word, place: statement.locate(0, end) };
        let (flags, start) = flags::read(statement, end, escape);
        Self { source, statement, escape, keyword, flags, start }
    }

    /// The arguments as one text.
    pub(super) fn arguments(&self) -> &'a str {
        self.statement.text.get(self.start..).unwrap_or_default()
    }

    /// The arguments' place, or the keyword's where there are none.
    pub(super) fn arguments_place(&self) -> Place {
        match self.arguments() {
            "" => self.keyword.place,
            text => self.statement.locate(self.start, self.start + text.len()),
        }
    }

    pub(super) fn flags(&self) -> Flags<'a> {
        Flags { source: self.source, left: self.flags.clone(), known: Vec::new() }
    }

    pub(super) fn error(&self, message: impl std::fmt::Display) -> Error {
        diagnose::at(self.source, self.arguments_place(), message)
    }

    /// Words separated by white space, quotes ordinary characters.
    pub(super) fn plain_words(&self) -> Vec<Word> {
        let text = self.arguments();
        let mut words = Vec::new();
        let mut at = 0;
        for piece in text.split_inclusive(char::is_whitespace) {
            let word = piece.trim_end();
            if !word.is_empty() {
                words.push(self.word(self.start + at, word));
            }
            at += piece.len();
        }
        words
    }

    pub(super) fn word(&self, start: usize, text: &str) -> Word {
        Word { text: text.to_owned(), place: self.statement.locate(start, start + text.len()) }
    }
}

fn from(reader: &Reader<'_>) -> Result<Stage, Error> {
    let mut flags = reader.flags();
    let platform = flags.one("platform")?;
    flags.end("FROM")?;
    let words = reader.plain_words();
    let (base, as_word, name) = match words.as_slice() {
        [base] => (base, None, None),
        [base, as_word, name] if as_word.text.eq_ignore_ascii_case("AS") => (base, Some(as_word), Some(name)),
        [] => return Err(reader.error("FROM needs an image")),
        [_, second, ..] => {
            return Err(diagnose::at(reader.source, second.place, "FROM has too many words")
                .hint("FROM image, or FROM image AS name"));
        }
    };
    if let Some(name) = name {
        check_stage_name(reader.source, name)?;
    }
    Ok(Stage {
        base: base.clone(),
        name: name.cloned(),
        platform,
        place: reader.statement.place,
        as_word: as_word.cloned(),
        keyword: reader.keyword.clone(),
        comments: reader.statement.comments.clone(),
        gap: reader.statement.gap,
        instructions: Vec::new(),
    })
}

fn check_stage_name(source: &Source, name: &Word) -> Result<(), Error> {
    let lower = name.text.to_ascii_lowercase();
    let sound = lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if sound {
        return Ok(());
    }
    let message = format!("stage name {} is not valid", name.text);
    Err(diagnose::at(source, name.place, message).hint("a letter, then letters, digits, - _ and ."))
}
