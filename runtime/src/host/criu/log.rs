//! CRIU's own log, of which the lines about errors are shown.

use std::path::Path;

/// How many lines before an error are shown with it.
const BEFORE: usize = 5;

/// The lines with `Error` in them and those before them, numbered; nothing where there are none.
pub(super) fn quote(path: &Path) -> Vec<String> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => return Vec::new(),
    };
    let shown = excerpt(&text);
    match shown.is_empty() {
        true => shown,
        false => {
            let first = format!("--- Quoting {:?}", path.display().to_string());
            [first].into_iter().chain(shown).chain(["---".to_owned()]).collect()
        }
    }
}

fn excerpt(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = Vec::new();
    let mut next = 0;
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.contains("Error")) {
        let first = at.saturating_sub(BEFORE).max(next);
        if next != 0 && first > next {
            shown.push("...".to_owned());
        }
        let some = lines.iter().enumerate().take(at + 1).skip(first).filter(|(_, line)| !line.is_empty());
        shown.extend(some.map(|(at, line)| format!("{}:{line}", at + 1)));
        next = at + 1;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn errors_are_shown_with_five_lines_before_them_and_each_line_once() {
        let mut lines: Vec<String> = (1..=30).map(|number| format!("line {number}")).collect();
        for at in [1, 9, 11, 29] {
            lines[at] = format!("Error {at}");
        }
        let shown = excerpt(&lines.join("\n"));
        let numbers: Vec<&str> = shown.iter().map(|line| line.split(':').next().unwrap()).collect();
        let expected = [
            "1", "2", "...", "5", "6", "7", "8", "9", "10", "11", "12", "...", "25", "26", "27", "28", "29",
            "30",
        ];
        assert_eq!(numbers, expected);
        assert_eq!(excerpt("all well\n"), Vec::<String>::new());
    }
}
