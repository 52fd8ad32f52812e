//! Numbers of tar headers and PAX records.

/// Octal digits between spaces and NULs, or GNU's base 256. Empty is zero, as everybody reads it.
pub(super) fn field(bytes: &[u8]) -> Option<i128> {
    match bytes.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => base256(*first, rest),
        _ => octal(bytes),
    }
}

/// Two's complement, big-endian, with the top bit of the first byte set as the mark of the form.
fn base256(first: u8, rest: &[u8]) -> Option<i128> {
    let negative = first & 0x40 != 0;
    let start = if negative { i128::from(first) - 256 } else { i128::from(first & 0x7f) };
    // 12 bytes at most: 96 bits fit.
    rest.iter().try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(i128::from(*byte)))
}

fn octal(bytes: &[u8]) -> Option<i128> {
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
    text.iter().try_fold(0_i128, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i128::from(byte - b'0')),
        _ => None,
    })
}

/// A decimal number with an optional sign and fraction: seconds and nanoseconds.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_in_every_form() {
        for (bytes, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000648\0", None),
            (b"-000001\0", None),
            (b"\x80\0\0\0\xff\xff\xff\xff", Some(0xffff_ffff)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(0x2_0000_0000)),
        ] {
            assert_eq!(field(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn times_with_signs_and_fractions() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1700000000.5", Some((1_700_000_000, 500_000_000))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-5", Some((-5, 0))),
            ("1.1234567891", Some((1, 123_456_789))),
            ("99999999999999999999", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }
}
