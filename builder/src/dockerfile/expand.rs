//! Variables and quotes in the words of instructions.
//!
//! The rules are the shell's, cut down to what the Dockerfile reference lists; unlike in a shell, `*` in a
//! pattern matches slashes too.

use std::iter::Peekable;
use std::str::Chars;

use super::pattern;

/// Looks a variable up.
pub trait Variables {
    /// The value, or `None` where it is not set.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// The result of an expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The words; white space from unquoted variables separates them.
    pub words: Vec<String>,
    /// The whole as one word.
    pub text: String,
    /// Variables that were asked for without a default and are not set.
    pub missing: Vec<String>,
}

/// Expands variables and removes quotes.
///
/// # Errors
/// The sentence that says what is wrong with the text.
pub fn expand(text: &str, escape: char, variables: &dyn Variables) -> Result<Expanded, String> {
    let mut walk = Walk {
        rest: text.chars().peekable(),
        escape,
        variables,
        out: Out::default(),
        quotes: Quotes::Removed,
    };
    walk.until(None)?;
    let out = walk.out;
    let mut words = out.words;
    words.extend(out.word);
    Ok(Expanded { words, text: out.text, missing: out.missing })
}

/// Expands variables in the body of a here-document, where quotes are ordinary characters.
///
/// # Errors
/// The sentence that says what is wrong with the text.
pub fn expand_body(text: &str, escape: char, variables: &dyn Variables) -> Result<Expanded, String> {
    let mut walk =
        Walk { rest: text.chars().peekable(), escape, variables, out: Out::default(), quotes: Quotes::Kept };
    walk.until(None)?;
    Ok(Expanded { words: Vec::new(), text: walk.out.text, missing: walk.out.missing })
}

/// Splits at white space outside quotes, and keeps quotes and escapes: offset and word.
#[must_use]
pub fn words_raw(text: &str, escape: char) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let (mut start, mut quote) = (None, None);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            if let Some(start) = start.take() {
                words.extend(text.get(start..at).map(|word| (start, word)));
            }
            continue;
        }
        start = start.or(Some(at));
        match letter {
            _ if letter == escape && quote != Some('\'') => drop(letters.next()),
            '\'' | '"' if quote == Some(letter) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(letter),
            _ => {}
        }
    }
    words.extend(start.and_then(|start| text.get(start..).map(|word| (start, word))));
    words
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Removed,
    Kept,
}

/// What has been written so far, as one text and as words.
#[derive(Default)]
struct Out {
    text: String,
    words: Vec<String>,
    word: Option<String>,
    missing: Vec<String>,
}

impl Out {
    /// Text that white space may split into words.
    fn plain(&mut self, text: &str) {
        for letter in text.chars() {
            if letter.is_whitespace() {
                self.words.extend(self.word.take());
            } else {
                self.word.get_or_insert_default().push(letter);
            }
        }
        self.text.push_str(text);
    }

    /// Text that stays in one word, even when empty.
    fn quoted(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
        self.text.push_str(text);
    }
}

struct Walk<'a> {
    rest: Peekable<Chars<'a>>,
    escape: char,
    variables: &'a dyn Variables,
    out: Out,
    quotes: Quotes,
}

impl Walk<'_> {
    /// Up to a closing character, which is taken, or to the end.
    fn until(&mut self, close: Option<char>) -> Result<(), String> {
        while let Some(letter) = self.rest.next() {
            match letter {
                _ if close == Some(letter) => return Ok(()),
                '\'' if self.quotes == Quotes::Removed => self.single()?,
                '"' if self.quotes == Quotes::Removed => self.double()?,
                '$' => {
                    let value = self.dollar()?;
                    self.out.plain(&value);
                }
                _ if letter == self.escape => self.escaped(),
                _ => self.out.plain(letter.encode_utf8(&mut [0; 4])),
            }
        }
        close.map_or(Ok(()), |close| Err(format!("{close} is missing")))
    }

    /// An escape at the end of the text stands for itself.
    fn escaped(&mut self) {
        let escape = self.escape;
        if self.quotes == Quotes::Kept && !self.rest.peek().is_some_and(|&c| c == '$' || c == escape) {
            self.out.quoted(escape.encode_utf8(&mut [0; 4]));
            return;
        }
        let letter = self.rest.next().unwrap_or(escape);
        self.out.quoted(letter.encode_utf8(&mut [0; 4]));
    }

    fn single(&mut self) -> Result<(), String> {
        self.out.quoted("");
        loop {
            match self.rest.next() {
                None => return Err("the closing ' is missing".to_owned()),
                Some('\'') => return Ok(()),
                Some(letter) => self.out.quoted(letter.encode_utf8(&mut [0; 4])),
            }
        }
    }

    fn double(&mut self) -> Result<(), String> {
        self.out.quoted("");
        loop {
            match self.rest.next() {
                None => return Err("the closing \" is missing".to_owned()),
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.dollar()?;
                    self.out.quoted(&value);
                }
                Some(letter) if letter == self.escape => {
                    let escape = self.escape;
                    match self.rest.next_if(|&c| c == '"' || c == '$' || c == escape) {
                        Some(next) => self.out.quoted(next.encode_utf8(&mut [0; 4])),
                        None => self.out.quoted(letter.encode_utf8(&mut [0; 4])),
                    }
                }
                Some(letter) => self.out.quoted(letter.encode_utf8(&mut [0; 4])),
            }
        }
    }

    /// What stands behind a `$` that is taken already.
    fn dollar(&mut self) -> Result<String, String> {
        if self.rest.next_if_eq(&'{').is_some() {
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.look_up(&name))
    }

    fn look_up(&mut self, name: &str) -> String {
        self.variables.get(name).unwrap_or_else(|| {
            self.out.missing.push(name.to_owned());
            String::new()
        })
    }

    /// A name, a number or one special parameter; empty where none stands.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.rest.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {
                while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }

    fn braces(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err("a name is missing after ${".to_owned());
        }
        match self.rest.next() {
            Some('}') => Ok(self.look_up(&name)),
            Some(':') => match self.rest.next() {
                Some(operator @ ('-' | '+' | '?')) => self.choose(&name, operator, Empty::CountsAsUnset),
                Some(other) => Err(format!("operator :{other} is not known in ${{{name}:{other}...}}")),
                None => Err(format!("the closing }} of ${{{name} is missing")),
            },
            Some(operator @ ('-' | '+' | '?')) => self.choose(&name, operator, Empty::CountsAsSet),
            Some(end @ ('#' | '%')) => self.trim(&name, end),
            Some('/') => self.replace(&name),
            Some(other) => Err(format!("operator {other} is not known in ${{{name}{other}...}}")),
            None => Err(format!("the closing }} of ${{{name} is missing")),
        }
    }

    /// `-`, `+` and `?`.
    fn choose(&mut self, name: &str, operator: char, empty: Empty) -> Result<String, String> {
        let known = self.out.missing.len();
        let word = self.operand()?;
        let value = self.variables.get(name).filter(|v| empty == Empty::CountsAsSet || !v.is_empty());
        match (operator, value) {
            ('-', Some(value)) => {
                // The default was not needed: what is missing in it is nobody's trouble.
                self.out.missing.truncate(known);
                Ok(value)
            }
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) if word.is_empty() => Err(format!("variable {name} has to be set")),
            (_, None) => Err(format!("variable {name} has to be set: {word}")),
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trim(&mut self, name: &str, end: char) -> Result<String, String> {
        let reach = match self.rest.next_if_eq(&end) {
            Some(_) => pattern::Reach::Longest,
            None => pattern::Reach::Shortest,
        };
        let glob = self.raw_until(&['}'])?.0;
        let value = self.look_up(name);
        Ok(match end {
            '#' => pattern::trim_start(&value, &glob, reach),
            _ => pattern::trim_end(&value, &glob, reach),
        })
    }

    /// `/` and `//`.
    fn replace(&mut self, name: &str) -> Result<String, String> {
        let times = match self.rest.next_if_eq(&'/') {
            Some(_) => pattern::Times::All,
            None => pattern::Times::First,
        };
        let (glob, close) = self.raw_until(&['/', '}'])?;
        let new = if close == '/' { self.operand()? } else { String::new() };
        let value = self.look_up(name);
        Ok(pattern::replace(&value, &glob, &new, times))
    }

    /// The expanded text up to the closing brace.
    fn operand(&mut self) -> Result<String, String> {
        let outer = std::mem::take(&mut self.out);
        let end = self.until(Some('}'));
        let inner = std::mem::replace(&mut self.out, outer);
        self.out.missing.extend(inner.missing);
        end.map(|()| inner.text)
    }

    /// A pattern up to one of the closing characters: variables are expanded, escapes stay for the matcher.
    fn raw_until(&mut self, close: &[char]) -> Result<(String, char), String> {
        let mut text = String::new();
        while let Some(letter) = self.rest.next() {
            match letter {
                _ if close.contains(&letter) => return Ok((text, letter)),
                '$' => text.push_str(&self.dollar()?),
                _ if letter == self.escape => {
                    text.push('\\');
                    text.extend(self.rest.next());
                }
                '\'' | '"' if self.quotes == Quotes::Removed => {}
                _ => text.push(letter),
            }
        }
        Err("the closing } is missing".to_owned())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    CountsAsSet,
    CountsAsUnset,
}
