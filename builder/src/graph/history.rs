//! Lines of an image's history as BuildKit writes them: tools read instructions out of them.

use crate::image::Healthcheck;

/// What BuildKit puts into `comment` of every line of that form.
pub const COMMENT: &str = "buildkit.dockerfile.v0";

/// A line about a step that was carried out.
pub(super) fn of_step(line: &str) -> String {
    format!("{line} # buildkit")
}

/// `["a" "b"]`, each word as Go quotes it.
pub(super) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

fn quote(word: &str) -> String {
    let mut out = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_ascii_control() => {
                out.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The fields of the check by name.
pub(super) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.join(" "),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries
    )
}

/// Nanoseconds as Go writes a duration: `1h2m3.5s`, `20ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let (sign, total) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let small = [("ns", 1), ("\u{b5}s", 1_000), ("ms", 1_000_000)];
    if total == 0 {
        return "0s".to_owned();
    }
    if total < 1_000_000_000 {
        let (unit, size) = small.iter().rev().find(|(_, size)| total >= *size).copied().unwrap_or(("ns", 1));
        return format!("{sign}{}{unit}", fraction(total, size));
    }
    let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let seconds = fraction(rest, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `number / size`, without zeros at its end.
fn fraction(number: u64, size: u64) -> String {
    let (whole, mut rest) = (number / size, number % size);
    let mut out = whole.to_string();
    if rest > 0 {
        out.push('.');
    }
    let mut place = size / 10;
    while rest > 0 && place > 0 {
        out.push_str(&(rest / place).to_string());
        (rest, place) = (rest % place, place / 10);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_durations_are_written_as_go_writes_them() {
        let words = ["a b", "\"q\"", "t\t\n", "\u{1}", "é\\"].map(str::to_owned);
        assert_eq!(quoted(&words), r#"["a b" "\"q\"" "t\t\n" "\x01" "é\\"]"#);
        for (nanoseconds, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (20_000_000, "20ms"),
            (2_500_000_000, "2.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_723_000_000_001, "1h2m3.000000001s"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }
}
