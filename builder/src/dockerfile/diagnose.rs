//! Errors that point at the place and suggest what was meant.

use super::source::{Place, Source};
use crate::error::Error;

/// An error at a place.
pub(crate) fn at(source: &Source, place: Place, message: impl std::fmt::Display) -> Error {
    source.error(place, message)
}

/// The candidate nearest to a word, if it is near enough to be a slip of the fingers.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    // A short word is near to every other one.
    let limit = match word.len() {
        0..=2 => 0,
        3 => 1,
        _ => 2,
    };
    let scored = candidates.into_iter().map(|c| (distance(&word, &c.to_ascii_lowercase()), c));
    scored.filter(|&(d, _)| d <= limit).min_by_key(|&(d, _)| d).map(|(_, c)| c)
}

/// ` (did you mean X?)` or nothing.
#[must_use]
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |c| format!(" (did you mean {c}?)"))
}

/// Insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |v: &[usize], k: usize| v.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j + 1) + 1).min(at(&row, j) + 1).min(at(&last, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_fingers_is_recognised() {
        let words = ["RUN", "COPY", "WORKDIR", "ENV"];
        assert_eq!(nearest("RNU", words), Some("RUN"));
        assert_eq!(nearest("wrokdir", words), Some("WORKDIR"));
        assert_eq!(nearest("BANANA", words), None);
    }
}
