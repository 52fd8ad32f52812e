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
        let value = parse(text.trim()).ok_or_else(|| invalid(&field, format!("{text:?} is no value")))?;
        all.push(match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            Some(stem) => {
                let value = microseconds(&value).ok_or_else(|| invalid(&field, "is no number of seconds"))?;
                Property { name: format!("{stem}USec"), value }
            }
            None => Property { name: name.to_owned(), value },
        });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn is_letters(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphabetic())
}

fn microseconds(value: &Value) -> Option<Value> {
    let seconds = match value {
        Value::I32(seconds) => u64::try_from(*seconds).ok()?,
        Value::I64(seconds) => u64::try_from(*seconds).ok()?,
        Value::U32(seconds) => u64::from(*seconds),
        Value::U64(seconds) => *seconds,
        _ => return None,
    };
    seconds.checked_mul(1_000_000).map(Value::U64)
}

/// A string in quotes, a boolean, a number (32 bits signed unless its type stands before it), a list of strings.
fn parse(text: &str) -> Option<Value> {
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let texts = list.split(',').map(|item| quoted(item.trim()));
        return texts.collect::<Option<Vec<String>>>().map(Value::Texts);
    }
    match text.split_once(' ') {
        Some(("int32", number)) => number.trim().parse().ok().map(Value::I32),
        Some(("uint32", number)) => number.trim().parse().ok().map(Value::U32),
        Some(("int64", number)) => number.trim().parse().ok().map(Value::I64),
        Some(("uint64", number)) => number.trim().parse().ok().map(Value::U64),
        _ => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            text => quoted(text).map(Value::Text).or_else(|| text.parse().ok().map(Value::I32)),
        },
    }
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
            ("other", "x"),
        ];
        let all = from_annotations(given.into_iter()).unwrap();
        let expected = [
            Property::new("After", Value::Texts(vec!["a.service".to_owned(), "b.service".to_owned()])),
            Property::new("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            Property::new("TimeoutStopUSec", Value::U64(15_000_000)),
            Property::new("TimeoutStopUSec", Value::U64(7)),
        ];
        assert_eq!(all, expected);
        for (key, value) in
            [("a", "1"), ("ExecStart=x", "1"), ("Good", "'a'b'"), ("Good", "uint64 -1"), ("Sec", "'x'")]
        {
            let key = format!("org.systemd.property.{key}");
            assert!(from_annotations([(key.as_str(), value)].into_iter()).is_err(), "{key} {value}");
        }
    }
}
