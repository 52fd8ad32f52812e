//! Properties of units, also from annotations `org.systemd.property.NAME`, whose values are written as `busctl` and GVariant do.

use crate::error::Error;
use crate::plan::text::invalid;

/// One property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: Value,
}

impl Property {
    pub(super) fn new(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value }
    }
}

/// A value on the bus, with the type that it has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Bytes(Vec<u8>),
    Texts(Vec<String>),
    Pids(Vec<u32>),
}

/// How much of the processors: from 1 to 10000.
pub const WEIGHT: &str = "CPUWeight";
/// Of the weight: only what nobody else wants. Older releases of systemd than `IDLE_SINCE` refuse it.
pub const IDLE: u64 = 0;
pub const IDLE_SINCE: u32 = 252;

/// Whether all processes go with one that memory ran out for: `memory.oom.group`, which systemd writes from this. Of scopes since
/// `OOM_SINCE`, and only when they start.
pub const OOM: &str = "OOMPolicy";
pub const OOM_SINCE: u32 = 253;

const PREFIX: &str = "org.systemd.property.";

/// In the order of their names. `...Sec` is a number of seconds for systemd's `...USec`.
pub(super) fn from_annotations<'a>(
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Property>, Error> {
    let mut all = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let field = format!("annotations.{key}");
        // Another grammar would let one annotation set several properties.
        if name.len() < 3 || !name.starts_with(|c: char| c.is_ascii_uppercase()) || !is_letters(name) {
            return Err(invalid(&field, "is no name of a property"));
        }
        let text = text.trim();
        all.push(match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            Some(stem) => {
                let value = microseconds(text).ok_or_else(|| invalid(&field, "is no number of seconds"))?;
                Property { name: format!("{stem}USec"), value: Value::U64(value) }
            }
            None => {
                let value = parse(text).ok_or_else(|| invalid(&field, format!("{text:?} is no value")))?;
                Property { name: name.to_owned(), value }
            }
        });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn is_letters(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphabetic())
}

/// Whole seconds of any type, or a fraction in decimals.
fn microseconds(text: &str) -> Option<u64> {
    if let Some((whole, fraction)) = text.split_once('.') {
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.is_empty() {
            return None;
        }
        let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        return whole.checked_mul(1_000_000)?.checked_add(six.parse().ok()?);
    }
    let seconds = match parse(text)? {
        Value::I32(seconds) => u64::try_from(seconds).ok()?,
        Value::I64(seconds) => u64::try_from(seconds).ok()?,
        Value::U32(seconds) => u64::from(seconds),
        Value::U64(seconds) => seconds,
        _ => return None,
    };
    seconds.checked_mul(1_000_000)
}

/// The part of GVariant's text format that properties are written in: a string in quotes, a boolean, a number (32 bits signed unless its
/// type stands before it, by name or as `@t`), a list of strings or of bytes.
fn parse(text: &str) -> Option<Value> {
    let (kind, rest) = match text.split_once(' ') {
        Some((kind, rest)) if kind.starts_with('@') || NUMBERS.contains(&kind) => (kind, rest.trim()),
        _ => ("", text),
    };
    match kind {
        "int32" | "@i" => number(rest).map(Value::I32),
        "uint32" | "@u" => number(rest).map(Value::U32),
        "int64" | "@x" => number(rest).map(Value::I64),
        "uint64" | "@t" => number(rest).map(Value::U64),
        "@s" => quoted(rest).map(Value::Text),
        "@b" => truth(rest),
        "@as" => items(rest)?.map(quoted).collect::<Option<_>>().map(Value::Texts),
        "@ay" => items(rest)?.map(number).collect::<Option<_>>().map(Value::Bytes),
        "" => untyped(rest),
        _ => None,
    }
}

const NUMBERS: [&str; 4] = ["int32", "uint32", "int64", "uint64"];

/// An empty list would have no type.
fn untyped(text: &str) -> Option<Value> {
    let Some(mut list) = items(text) else {
        let word = quoted(text).map(Value::Text).or_else(|| truth(text));
        return word.or_else(|| number(text).map(Value::I32));
    };
    let first = list.next()?;
    match first.strip_prefix("byte ") {
        Some(first) => {
            // The type of the first item is that of all, and may be said again.
            let rest = list.map(|item| item.strip_prefix("byte ").unwrap_or(item));
            let all = std::iter::once(first).chain(rest);
            all.map(|item| number(item.trim())).collect::<Option<_>>().map(Value::Bytes)
        }
        None => std::iter::once(first).chain(list).map(quoted).collect::<Option<_>>().map(Value::Texts),
    }
}

fn items(text: &str) -> Option<impl Iterator<Item = &str>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    Some(inside.split(',').map(str::trim).filter(move |_| !inside.is_empty()))
}

fn truth(text: &str) -> Option<Value> {
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// Decimal, or hexadecimal after 0x.
fn number<T: TryFrom<i128>>(text: &str) -> Option<T> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (digits, base) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    let value = u64::from_str_radix(digits, base).ok().filter(|_| !digits.starts_with('+'))?;
    T::try_from(sign * i128::from(value)).ok()
}

fn quoted(text: &str) -> Option<String> {
    let inside = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))?;
    let plain = !inside.contains(['\'', '"', '\\', '\0', '\n']);
    plain.then(|| inside.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_properties() {
        let given = [
            ("org.systemd.property.TimeoutStopSec", "15"),
            ("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            ("org.systemd.property.TimeoutStopUSec", "uint64 7"),
            ("org.systemd.property.After", "['a.service', \"b.service\"]"),
            ("org.systemd.property.AllowedCPUs", "[byte 0x01, 2]"),
            ("org.systemd.property.Before", "@as []"),
            ("org.systemd.property.MemoryMax", "@t 0x20"),
            ("org.systemd.property.RuntimeMaxSec", "1.5"),
            ("other", "x"),
        ];
        let all = from_annotations(given.into_iter()).unwrap();
        let expected = [
            Property::new("After", Value::Texts(vec!["a.service".to_owned(), "b.service".to_owned()])),
            Property::new("AllowedCPUs", Value::Bytes(vec![1, 2])),
            Property::new("Before", Value::Texts(Vec::new())),
            Property::new("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            Property::new("MemoryMax", Value::U64(32)),
            Property::new("RuntimeMaxUSec", Value::U64(1_500_000)),
            Property::new("TimeoutStopUSec", Value::U64(15_000_000)),
            Property::new("TimeoutStopUSec", Value::U64(7)),
        ];
        assert_eq!(all, expected);
        let wrong = [
            ("a", "1"),
            ("ExecStart=x", "1"),
            ("Good", "'a'b'"),
            ("Good", "uint64 -1"),
            ("Good", "[]"),
            ("Good", "[byte 256]"),
            ("Good", "+1"),
            ("Good", "0x"),
            ("Sec", "'x'"),
            ("Sec", "."),
        ];
        for (key, value) in wrong {
            let key = format!("org.systemd.property.{key}");
            assert!(from_annotations([(key.as_str(), value)].into_iter()).is_err(), "{key} {value}");
        }
    }
}
