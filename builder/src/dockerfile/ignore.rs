//! Ignore files: which paths of the context the build does not see.

use super::glob::Glob;
use super::source::{Place, Source};
use crate::error::Error;

/// The patterns of an ignore file or of `--exclude` flags, in order; the last that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<(Glob, Verdict)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Out,
    In,
}

impl Ignore {
    /// Reads an ignore file.
    ///
    /// # Errors
    /// A pattern that is none, at its place.
    pub fn parse(source: &Source) -> Result<Self, Error> {
        let mut rules = Vec::new();
        let mut at = 0;
        for line in source.text.split_inclusive('\n') {
            let text = if at == 0 { line.trim_start_matches('\u{feff}') } else { line };
            let place = Place { start: at, end: at + line.trim_end().len() };
            at += line.len();
            if !text.starts_with('#') {
                let rule = rule(text.trim()).map_err(|message| source.error(place, message))?;
                rules.extend(rule);
            }
        }
        Ok(Self { rules })
    }

    /// Reads `--exclude` patterns.
    ///
    /// # Errors
    /// A sentence about a pattern that is none.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let rules: Result<Vec<_>, String> = patterns.into_iter().map(rule).collect();
        Ok(Self { rules: rules?.into_iter().flatten().collect() })
    }

    /// Whether a path, relative and clean, is left out: by itself, or with a directory above it.
    #[must_use]
    pub fn excludes(&self, path: &str) -> bool {
        let mut out = false;
        for (glob, verdict) in &self.rules {
            // Only a rule that would change the verdict has to be looked at.
            if (*verdict == Verdict::Out) != out && parents(path).any(|part| glob.matches(part)) {
                out = !out;
            }
        }
        out
    }

    /// Whether anything below a directory may be seen: it is not left out, or a later pattern may bring some back.
    #[must_use]
    pub fn may_see_below(&self, directory: &str) -> bool {
        let brings_back = |(glob, verdict): &(Glob, Verdict)| {
            *verdict == Verdict::In
                && (glob.may_match_below(directory) || parents(directory).any(|p| glob.matches(p)))
        };
        !self.excludes(directory) || self.rules.iter().any(brings_back)
    }
}

/// The path itself and every directory above it.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent))
}

fn rule(text: &str) -> Result<Option<(Glob, Verdict)>, String> {
    let text = text.trim();
    let (text, verdict) = match text.strip_prefix('!') {
        Some(rest) => (rest.trim(), Verdict::In),
        None => (text, Verdict::Out),
    };
    if text.is_empty() {
        return match verdict {
            Verdict::Out => Ok(None),
            Verdict::In => Err("pattern ! has nothing behind it".to_owned()),
        };
    }
    let pattern = clean(text);
    // The context itself cannot be left out.
    if pattern.is_empty() { Ok(None) } else { Ok(Some((Glob::parse(&pattern)?, verdict))) }
}

/// Without slashes at the ends, `.` and `..`.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::{Ignore, Source};

    fn ignore(text: &str) -> Ignore {
        Ignore::parse(&Source { name: ".dockerignore".to_owned(), text: text.to_owned() }).unwrap()
    }

    #[test]
    fn the_last_matching_pattern_decides() {
        for (text, seen, left_out) in [
            ("", vec!["a", "a/b"], vec![]),
            ("# c\n\n  a  \n", vec!["b", "x/a"], vec!["a", "a/b"]),
            ("/a/\nb/../c", vec!["b"], vec!["a", "a/x", "c"]),
            ("*.md\n!README.md", vec!["README.md", "d/x.md"], vec!["x.md"]),
            ("!README.md\n*.md", vec![], vec!["README.md"]),
            ("**/*.md", vec!["md"], vec!["x.md", "d/e/x.md"]),
            ("*\n!src\nsrc/secret", vec!["src", "src/a"], vec!["x", "src/secret", "src/secret/y"]),
            ("dir\n!dir/keep", vec!["dir/keep", "dir/keep/x"], vec!["dir", "dir/other"]),
            ("**", vec![], vec!["a", "a/b"]),
            ("a/**", vec!["a"], vec!["a/b", "a/b/c"]),
            ("**/node_modules", vec!["node"], vec!["node_modules", "p/node_modules/x"]),
            ("a?c\n[x-z]", vec!["ac", "w"], vec!["abc", "y"]),
            ("\\#x\n\\!y", vec!["x"], vec!["#x", "!y"]),
            ("\u{feff}a\r\nb\r\n", vec!["c"], vec!["a", "b"]),
            (".", vec!["a"], vec![]),
        ] {
            let ignore = ignore(text);
            for path in seen {
                assert!(!ignore.excludes(path), "{text:?} leaves {path} out");
            }
            for path in left_out {
                assert!(ignore.excludes(path), "{text:?} does not leave {path} out");
            }
        }
    }

    #[test]
    fn a_directory_is_entered_only_for_what_may_come_back() {
        let ignore = ignore("a\nb\n!a/deep/keep\n!**/*.go");
        assert!(ignore.may_see_below("a"));
        assert!(ignore.may_see_below("b"), "a .go file may be anywhere");
        let ignore = self::ignore("a\nb\n!a/deep/keep");
        assert!(ignore.may_see_below("a/deep"));
        assert!(!ignore.may_see_below("a/other"));
        assert!(!ignore.may_see_below("b"));
        assert!(ignore.may_see_below("c"));
    }

    #[test]
    fn a_pattern_that_is_none_is_shown_at_its_place() {
        let source = Source { name: ".dockerignore".to_owned(), text: "a\nb[\n".to_owned() };
        let error = Ignore::parse(&source).unwrap_err();
        assert_eq!(error.to_string(), ".dockerignore:2:1: pattern b[ has a [ without its ]");
        assert_eq!(error.shown_excerpt(), Some("   2 | b[\n     | ^^"));
    }
}
