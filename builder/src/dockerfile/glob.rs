//! Path patterns of ignore files, `--exclude` and `--parents`: `*`, `?`, `[a-z]`, `\` within one name, and `**`
//! across names.
//!
//! Matching takes time in proportion to text times pattern, whatever a stranger writes.

/// A pattern for relative paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// Any characters, slashes too.
    Deep,
    /// Any characters of one name.
    Star,
    /// One character of a name.
    One,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Literal(char),
    /// The next two items (`**` and its slash) may be left out.
    Optional,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence about a `[` without its end, or a `\` at the end.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '*' if letters.next_if_eq(&'*').is_some() => {
                    while letters.next_if_eq(&'*').is_some() {}
                    if letters.next_if_eq(&'/').is_some() {
                        items.extend([Item::Optional, Item::Deep, Item::Literal('/')]);
                    } else {
                        items.push(Item::Deep);
                    }
                }
                '*' => items.push(Item::Star),
                '?' => items.push(Item::One),
                '[' => items.push(
                    class(&mut letters).ok_or_else(|| format!("pattern {pattern} has a [ without its ]"))?,
                ),
                '\\' => match letters.next() {
                    Some(next) => items.push(Item::Literal(next)),
                    None => return Err(format!("pattern {pattern} ends with \\")),
                },
                other => items.push(Item::Literal(other)),
            }
        }
        Ok(Self { items })
    }

    /// Whether the whole path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.run(path).last() == Some(&true)
    }

    /// Whether a path below this directory may match.
    #[must_use]
    pub fn may_match_below(&self, directory: &str) -> bool {
        directory.is_empty() || self.run(&format!("{directory}/")).contains(&true)
    }

    /// The items that may come next after the whole text; the last flag is the end of the pattern.
    fn run(&self, text: &str) -> Vec<bool> {
        let mut now = vec![false; self.items.len() + 1];
        mark(&self.items, &mut now, 0);
        for letter in text.chars() {
            let mut next = vec![false; self.items.len() + 1];
            for (at, item) in self.items.iter().enumerate() {
                if now.get(at) != Some(&true) {
                    continue;
                }
                match item {
                    Item::Deep => mark(&self.items, &mut next, at),
                    Item::Star if letter != '/' => mark(&self.items, &mut next, at),
                    Item::One if letter != '/' => mark(&self.items, &mut next, at + 1),
                    Item::Class { negated, ranges } if letter != '/' => {
                        let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&letter));
                        if inside != *negated {
                            mark(&self.items, &mut next, at + 1);
                        }
                    }
                    Item::Literal(c) if *c == letter => mark(&self.items, &mut next, at + 1),
                    _ => {}
                }
            }
            now = next;
        }
        now
    }
}

/// Marks an item, and those after it that can be reached without a character.
fn mark(items: &[Item], flags: &mut [bool], at: usize) {
    match flags.get_mut(at) {
        Some(flag) if !*flag => *flag = true,
        _ => return,
    }
    match items.get(at) {
        Some(Item::Deep | Item::Star) => mark(items, flags, at + 1),
        Some(Item::Optional) => {
            mark(items, flags, at + 1);
            mark(items, flags, at + 3);
        }
        _ => {}
    }
}

fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Item> {
    let negated = letters.next_if(|&c| c == '^' || c == '!').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match letters.next()? {
            ']' if !ranges.is_empty() => return Some(Item::Class { negated, ranges }),
            '\\' => letters.next()?,
            letter => letter,
        };
        let mut high = low;
        if letters.next_if_eq(&'-').is_some() {
            high = match letters.next()? {
                '\\' => letters.next()?,
                letter => letter,
            };
        }
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_match_as_the_reference_says() {
        for (pattern, path, expected) in [
            ("*.go", "a.go", true),
            ("*.go", "d/a.go", false),
            ("**/*.go", "a.go", true),
            ("**/*.go", "d/e/a.go", true),
            ("d/**", "d/e/f", true),
            ("d/**", "d", false),
            ("**", "a/b", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "ab/z", false),
            ("**/foo", "xfoo", false),
            ("[a-c]?\\*", "bz*", true),
            ("[^a]", "a", false),
            ("a[^/]b", "a/b", false),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_directory_is_skipped_when_nothing_below_can_match() {
        let glob = Glob::parse("a/*/keep").unwrap();
        assert!(glob.may_match_below("a"));
        assert!(glob.may_match_below("a/b"));
        assert!(!glob.may_match_below("b"));
        assert!(!glob.may_match_below("a/b/c"));
    }

    #[test]
    fn a_hostile_pattern_takes_linear_time() {
        let glob = Glob::parse(&"*a".repeat(200)).unwrap();
        assert!(!glob.matches(&"a".repeat(2000).replace("aaaaaaaaaa", "aaaaaaaaab")));
    }
}
