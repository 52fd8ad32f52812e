//! Patterns of variable expansion: `*`, `?` and `\`, where `*` matches any characters, slashes too.

/// Whether as little or as much as possible is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

/// How many matches are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    First,
    All,
}

/// Cuts a match from the beginning.
pub(super) fn trim_start(value: &str, glob: &str, reach: Reach) -> String {
    let glob = parse(glob);
    let mut ends = boundaries(value);
    let found = match reach {
        Reach::Shortest => ends.find(|&end| matches(&glob, part(value, 0, end))),
        Reach::Longest => ends.filter(|&end| matches(&glob, part(value, 0, end))).last(),
    };
    part(value, found.unwrap_or(0), value.len()).to_owned()
}

/// Cuts a match from the end.
pub(super) fn trim_end(value: &str, glob: &str, reach: Reach) -> String {
    let glob = parse(glob);
    let mut starts = boundaries(value);
    let found = match reach {
        Reach::Longest => starts.find(|&start| matches(&glob, part(value, start, value.len()))),
        Reach::Shortest => starts.filter(|&start| matches(&glob, part(value, start, value.len()))).last(),
    };
    part(value, 0, found.unwrap_or(value.len())).to_owned()
}

/// Replaces the first or all matches, each as long as possible.
pub(super) fn replace(value: &str, glob: &str, new: &str, times: Times) -> String {
    let glob = parse(glob);
    let mut out = String::new();
    let mut at = 0;
    while at < value.len() {
        let found = boundaries(value).filter(|&end| end > at && matches(&glob, part(value, at, end))).last();
        if let Some(end) = found {
            out.push_str(new);
            at = end;
            if times == Times::First {
                break;
            }
        } else {
            let letter = part(value, at, value.len()).chars().next();
            out.extend(letter);
            at += letter.map_or(1, char::len_utf8);
        }
    }
    out.push_str(part(value, at, value.len()));
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Any,
    One,
    Literal(char),
}

fn parse(glob: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut letters = glob.chars();
    while let Some(letter) = letters.next() {
        items.push(match letter {
            '*' => Item::Any,
            '?' => Item::One,
            '\\' => Item::Literal(letters.next().unwrap_or('\\')),
            other => Item::Literal(other),
        });
    }
    items
}

/// Whether the whole text matches; linear but for the last star, which is where it falls back to.
fn matches(glob: &[Item], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(Item::Any) => {
                star = Some((g, t));
                g += 1;
                continue;
            }
            Some(Item::One) => {}
            Some(Item::Literal(c)) if Some(c) == text.get(t) => {}
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (g, t) = (at + 1, taken + 1);
                continue;
            }
        }
        (g, t) = (g + 1, t + 1);
    }
    glob.iter().skip(g).all(|item| *item == Item::Any)
}

fn boundaries(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()))
}

fn part(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_default()
}
