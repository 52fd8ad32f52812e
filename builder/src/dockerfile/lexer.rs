//! Physical lines to statements: directives, comments, continuations and here-documents.

use super::directive::{self, Directives};
use super::heredoc::{self, Heredoc};
use super::source::{Place, Source};
use crate::error::Error;

/// One instruction with its continuation lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The joined line, without leading white space.
    pub text: String,
    /// From the keyword's first byte to the end of the last line, here-documents included.
    pub place: Place,
    /// Where pieces of `text` came from: offset in `text`, offset in the source.
    pieces: Vec<(usize, usize)>,
    /// The comment lines directly above.
    pub comments: Vec<Comment>,
    /// Here-documents, in the order of their markers.
    pub heredocs: Vec<Heredoc>,
    /// An empty line between continuation lines.
    pub gap: Option<Place>,
}

/// A comment line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Without `#` and surrounding white space.
    pub text: String,
    /// The line.
    pub place: Place,
}

/// What a text consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lexed {
    /// The parser directives at the top.
    pub directives: Directives,
    /// The statements in order.
    pub statements: Vec<Statement>,
}

impl Statement {
    /// The source's byte for a byte of `text`.
    #[must_use]
    pub fn origin(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|&(at, _)| at <= offset);
        let piece = after.checked_sub(1).and_then(|i| self.pieces.get(i));
        piece.map_or(self.place.start, |&(at, source)| source + (offset - at))
    }

    /// The source's range for a range of `text`.
    #[must_use]
    pub fn locate(&self, start: usize, end: usize) -> Place {
        let last = end.max(start + 1) - 1;
        Place { start: self.origin(start), end: self.origin(last) + 1 }
    }
}

/// Splits a text into directives and statements.
///
/// # Errors
/// A here-document without its end, and a directive that is doubled or has an impossible value.
pub fn lex(source: &Source) -> Result<Lexed, Error> {
    let (directives, rest) = directive::read(source)?;
    let mut lines = Lines { text: &source.text, at: rest };
    let mut statements = Vec::new();
    let mut comments = Vec::new();
    while let Some((at, line)) = lines.next() {
        if let Some(comment) = comment(at, line) {
            comments.push(comment);
        } else if line.trim().is_empty() {
            comments.clear();
        } else {
            let above = std::mem::take(&mut comments);
            if let Some(mut statement) = join(&mut lines, (at, line), directives.escape) {
                statement.comments = above;
                read_heredocs(source, &mut lines, &mut statement)?;
                statements.push(statement);
            }
        }
    }
    Ok(Lexed { directives, statements })
}

/// Reads a statement whose comments and here-documents are still to be filled in.
fn join(lines: &mut Lines, (at, first): (usize, &str), escape: char) -> Option<Statement> {
    let trimmed = first.trim_start();
    let start = at + (first.len() - trimmed.len());
    let mut statement = Statement {
        text: String::new(),
        place: Place { start, end: at + first.trim_end().len() },
        pieces: Vec::new(),
        comments: Vec::new(),
        heredocs: Vec::new(),
        gap: None,
    };
    let (mut piece, mut open) = cut_continuation(trimmed, escape);
    statement.push(piece, start);
    while open {
        let Some((at, line)) = lines.next() else { break };
        if comment(at, line).is_some() {
            continue;
        }
        if line.trim().is_empty() {
            statement.gap = statement.gap.or(Some(Place { start: at, end: at + line.len() }));
            continue;
        }
        (piece, open) = cut_continuation(line, escape);
        statement.push(piece, at);
        statement.place.end = at + line.trim_end().len();
    }
    let kept = statement.text.trim_end().len();
    statement.text.truncate(kept);
    (kept > 0).then_some(statement)
}

impl Statement {
    fn push(&mut self, piece: &str, source: usize) {
        self.pieces.push((self.text.len(), source));
        self.text.push_str(piece);
    }
}

/// The line without its continuation mark, and whether it had one. A doubled mark is a literal one.
fn cut_continuation(line: &str, escape: char) -> (&str, bool) {
    let line = line.trim_end_matches(['\n', '\r']);
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

fn comment(at: usize, line: &str) -> Option<Comment> {
    let text = line.trim().strip_prefix('#')?;
    Some(Comment {
        text: text.trim().to_owned(),
        place: Place { start: at, end: at + line.trim_end().len() },
    })
}

fn read_heredocs(source: &Source, lines: &mut Lines, statement: &mut Statement) -> Result<(), Error> {
    for (start, end, mut document) in heredoc::markers(&statement.text) {
        loop {
            let Some((at, line)) = lines.next() else {
                let message = format!("here-document {} has no end", document.name);
                return Err(super::diagnose::at(source, statement.locate(start, end), message)
                    .hint(format!("put a line with only {} after it", document.name)));
            };
            statement.place.end = at + line.trim_end().len();
            if document.ends_at(line) {
                break;
            }
            document.content.push_str(line);
        }
        statement.heredocs.push(document);
    }
    Ok(())
}

/// Physical lines with their line ends, and where each begins.
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let line = rest.split_inclusive('\n').next()?;
        let at = self.at;
        self.at += line.len();
        Some((at, line))
    }
}
