//! Columns of text, numbers and times as people read them.

use std::io::{self, Write};

/// Writes rows in columns as wide as their widest cell, three spaces between them. The first row is the heading.
pub(crate) fn write(rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = io::stdout().lock();
    for row in rows {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("   ").trim_end())?;
    }
    out.flush()
}

/// Bytes in units of 1000, as docker and podman show them: three digits that count.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    let units = ["B", "kB", "MB", "GB", "TB"];
    for unit in units.iter().take(4) {
        if number < 999.5 {
            return short(number, unit);
        }
        number /= 1000.0;
    }
    short(number, "TB")
}

fn short(number: f64, unit: &str) -> String {
    let digits = if number >= 99.95 || unit == "B" {
        0
    } else if number >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{number:.digits$}");
    let plain = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{plain} {unit}")
}

/// The minutes of an RFC 3339 time, as it stands there.
pub(crate) fn time(text: Option<&str>) -> String {
    match text.and_then(|text| text.get(..16)) {
        Some(minutes) => minutes.replace('T', " "),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1 kB"),
            (4_260_000, "4.26 MB"),
            (12_345_678, "12.3 MB"),
            (999_600, "1 MB"),
            (123_456_789_000, "123 GB"),
            (5_000_000_000_000_000, "5000 TB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
