//! Here-documents: their markers on the line, and where each ends.

use super::expand::words_raw;

/// A here-document of RUN, COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, without quotes.
    pub name: String,
    /// Lines as they stand, ends included.
    pub content: String,
    /// `<<-`: tabs at the beginning of each line do not count.
    pub tabs: Tabs,
    /// Whether variables in it are expanded.
    pub expansion: Expansion,
}

/// What becomes of tabs at the beginning of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tabs {
    /// They stay.
    Kept,
    /// They go.
    Stripped,
}

/// Whether variables are expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expansion {
    /// The marker is a plain word.
    On,
    /// Part of the marker is quoted.
    Off,
}

impl Heredoc {
    /// Whether the line is this document's last.
    #[must_use]
    pub fn ends_at(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\n', '\r']);
        match self.tabs {
            Tabs::Kept => line == self.name,
            Tabs::Stripped => line.trim_start_matches('\t') == self.name,
        }
    }

    /// The content after `<<-` has had its say.
    #[must_use]
    pub fn body(&self) -> String {
        match self.tabs {
            Tabs::Kept => self.content.clone(),
            Tabs::Stripped => {
                self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
            }
        }
    }
}

/// The markers of a statement that may have here-documents: start and end in the text, and the empty document.
pub(super) fn markers(text: &str) -> Vec<(usize, usize, Heredoc)> {
    if !text.contains("<<") || !may_have(text) {
        return Vec::new();
    }
    let found = words_raw(text, '\\').into_iter().filter_map(|(start, word)| {
        let document = marker(word)?;
        Some((start, start + word.len(), document))
    });
    found.collect()
}

/// The here-document that a word begins, if it is a marker: `[fd]<<[-]name`.
#[must_use]
pub fn marker(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (Tabs::Stripped, rest),
        None => (Tabs::Kept, rest),
    };
    if rest.is_empty() || rest.contains('<') || rest.contains(char::is_whitespace) {
        return None;
    }
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
    if name.is_empty() {
        return None;
    }
    let expansion = if name == rest { Expansion::On } else { Expansion::Off };
    Some(Heredoc { name, content: String::new(), tabs, expansion })
}

/// RUN, COPY and ADD may, also behind ONBUILD, unless their arguments are a JSON array.
fn may_have(text: &str) -> bool {
    let mut rest = text;
    loop {
        let (keyword, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let arguments = arguments.trim_start();
        match keyword.to_ascii_uppercase().as_str() {
            "ONBUILD" => rest = arguments,
            "RUN" | "COPY" | "ADD" => {
                return serde_json::from_str::<Vec<serde_json::Value>>(arguments).is_err();
            }
            _ => return false,
        }
    }
}
