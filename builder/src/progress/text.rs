//! Numbers for people.

use std::time::Duration;

/// `1.2s`, as every display writes durations.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// `12.3MB`: powers of 1000, as registries count.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (unit, name) in UNITS {
        if count >= unit {
            let tenths = count / (unit / 10);
            return format!("{}.{}{name}", tenths / 10, tenths % 10);
        }
    }
    format!("{count}B")
}

/// `12.3MB / 45.0MB`, or `12.3MB` while the whole is not known.
pub(super) fn progress(done: u64, total: Option<u64>) -> String {
    total.map_or_else(|| bytes(done), |total| format!("{} / {}", bytes(done), bytes(total)))
}

/// Cuts what an output of a step could do to a terminal: control characters go, colours with them.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' if letters.next_if_eq(&'[').is_some() => {
                // A control sequence ends with a byte from @ to ~.
                for parameter in letters.by_ref() {
                    if ('@'..='~').contains(&parameter) {
                        break;
                    }
                }
            }
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{bytes, printable};

    #[test]
    fn sizes_are_short() {
        assert_eq!([0, 999, 1_250, 45_600_000].map(bytes), ["0B", "999B", "1.2kB", "45.6MB"]);
    }

    #[test]
    fn control_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable(b"\x1b[31mred\x1b[0m\tx\x07\r"), "red    x");
    }
}
