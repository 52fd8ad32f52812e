//! The text of a Dockerfile and places in it.

use crate::error::{Error, Kind};

/// A range of bytes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// First byte after it.
    pub end: usize,
}

/// A Dockerfile's text under the name that messages give it.
#[derive(Debug, Clone)]
pub struct Source {
    /// File name as the user gave it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Line and column of a byte, both from 1; columns count characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        // A byte order mark takes no column.
        let last = before.rsplit('\n').next().unwrap_or_default().trim_start_matches('\u{feff}');
        let column = last.chars().count() + 1;
        (line, column)
    }

    /// The line that the place begins on, and a caret under every character of it on that line.
    #[must_use]
    pub fn excerpt(&self, place: Place) -> String {
        let (line, column) = self.position(place.start);
        let text = self.text.lines().nth(line - 1).unwrap_or_default().trim_start_matches('\u{feff}');
        let wide = self.text.get(place.start..place.end).unwrap_or_default();
        let marked = wide.lines().next().unwrap_or_default().trim_end().chars().count().max(1);
        // Tabs before the caret stay tabs, so that both lines look the same on any terminal.
        let indent: String =
            text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{line:>4} | {text}\n     | {indent}{}", "^".repeat(marked))
    }

    /// An error at a place: `Dockerfile:3:1: message`, and the line below it.
    pub fn error(&self, place: Place, message: impl std::fmt::Display) -> Error {
        let (line, column) = self.position(place.start);
        Error::new(Kind::Invalid, format!("{}:{line}:{column}: {message}", self.name))
            .excerpt(self.excerpt(place))
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Source};

    #[test]
    fn the_caret_stands_under_the_place() {
        let source = Source { name: "Dockerfile".into(), text: "FROM a\n\tRNU é make\n".into() };
        assert_eq!(source.excerpt(Place { start: 8, end: 11 }), "   2 | \tRNU é make\n     | \t^^^");
        assert_eq!(source.position(15), (2, 8));
    }
}
