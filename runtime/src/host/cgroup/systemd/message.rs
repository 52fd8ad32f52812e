//! The wire format of D-Bus, as much as is needed to call systemd's manager (D-Bus specification, "Message Protocol").

use crate::plan::cgroup::systemd::{Property, Value};

/// Bytes of a message in the making, little-endian.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
}

impl Body {
    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
    }

    /// Every value begins at a multiple of its own size.
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// Elements after their length in bytes, which does not count the padding before the first.
    pub(super) fn array(&mut self, align: usize, fill: impl FnOnce(&mut Self)) {
        self.align(4);
        let at = self.bytes.len();
        self.u32(0);
        self.align(align);
        let start = self.bytes.len();
        fill(self);
        let size = length(self.bytes.len() - start);
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&size.to_le_bytes());
        }
    }

    /// `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |body| {
            for property in properties {
                body.align(8);
                body.text(&property.name);
                body.variant(&property.value);
            }
        });
    }

    fn variant(&mut self, value: &Value) {
        self.signature(match value {
            Value::Text(_) => "s",
            Value::Bool(_) => "b",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Bytes(_) => "ay",
            Value::Texts(_) => "as",
            Value::Pids(_) => "au",
        });
        match value {
            Value::Text(text) => self.text(text),
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::I32(value) => self.u32(value.cast_unsigned()),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.u64(value.cast_unsigned()),
            Value::U64(value) => self.u64(*value),
            Value::Bytes(bytes) => self.array(1, |body| body.bytes.extend(bytes)),
            Value::Texts(texts) => self.array(4, |body| texts.iter().for_each(|text| body.text(text))),
            Value::Pids(pids) => self.array(4, |body| pids.iter().for_each(|pid| body.u32(*pid))),
        }
    }
}

fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
}

const METHOD_CALL: u8 = 1;
pub(super) const METHOD_RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// A whole message.
pub(super) fn call(call: &Call<'_>, serial: u32, body: &Body) -> Vec<u8> {
    let mut message = Body { bytes: vec![b'l', METHOD_CALL, 0, 1] };
    message.u32(length(body.bytes.len()));
    message.u32(serial);
    message.array(8, |fields| {
        let texts = [
            (1, "o", call.path),
            (2, "s", call.interface),
            (3, "s", call.member),
            (6, "s", call.destination),
        ];
        for (code, kind, text) in texts {
            fields.align(8);
            fields.bytes.push(code);
            fields.signature(kind);
            fields.text(text);
        }
        if !call.signature.is_empty() {
            fields.align(8);
            fields.bytes.push(8);
            fields.signature("g");
            fields.signature(call.signature);
        }
    });
    message.align(8);
    message.bytes.extend(&body.bytes);
    message.bytes
}

/// A message that came, as far as anybody asks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) kind: u8,
    pub(super) reply_to: u32,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) body: Vec<u8>,
}

/// The first sixteen bytes tell how many follow.
pub(super) const FIXED: usize = 16;

/// Bytes after the first sixteen. None for what is no message, or an absurdly long one.
pub(super) fn rest_of(fixed: &[u8]) -> Option<usize> {
    let mut reader = Reader { bytes: fixed, at: 4 };
    let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let rest = usize::try_from(fields).ok()?.next_multiple_of(8).checked_add(usize::try_from(body).ok()?)?;
    (fixed.first() == Some(&b'l') && rest <= 1 << 20).then_some(rest)
}

/// Reads a complete message.
pub(super) fn parse(bytes: &[u8]) -> Option<Incoming> {
    let mut incoming = Incoming { kind: *bytes.get(1)?, ..Incoming::default() };
    let mut reader = Reader { bytes, at: 12 };
    let end = usize::try_from(reader.u32()?).ok()? + FIXED;
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match reader.signature()?.as_str() {
            "s" | "o" => {
                let text = reader.text()?;
                match code {
                    3 => incoming.member = text,
                    4 => incoming.error = text,
                    _ => {}
                }
            }
            "u" => {
                let number = reader.u32()?;
                if code == 5 {
                    incoming.reply_to = number;
                }
            }
            "g" => drop(reader.signature()?),
            _ => return None,
        }
    }
    incoming.body = bytes.get(end.next_multiple_of(8)..)?.to_vec();
    Some(incoming)
}

/// Takes values off a body.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.bytes.get(self.at..self.at.checked_add(4)?)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.take(count)
    }

    /// A string within a variant.
    pub(super) fn variant_text(&mut self) -> Option<String> {
        (self.signature()? == "s").then(|| self.text()).flatten()
    }

    fn signature(&mut self) -> Option<String> {
        let count = usize::from(self.byte()?);
        self.take(count)
    }

    fn take(&mut self, count: usize) -> Option<String> {
        let end = self.at.checked_add(count)?;
        let text = String::from_utf8(self.bytes.get(self.at..end)?.to_vec()).ok()?;
        self.at = end + 1;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut body = Body::default();
        body.text("unit");
        body.u32(7);
        let to = Call { destination: "d", path: "/p", interface: "i", member: "M", signature: "su" };
        let bytes = call(&to, 5, &body);
        assert_eq!(rest_of(&bytes[..FIXED]), Some(bytes.len() - FIXED));
        let read = parse(&bytes).unwrap();
        assert_eq!((read.kind, read.member.as_str()), (METHOD_CALL, "M"));
        let mut reader = Reader { bytes: &read.body, at: 0 };
        assert_eq!((reader.text().as_deref(), reader.u32(), reader.u32()), (Some("unit"), Some(7), None));
    }

    #[test]
    fn damaged_messages_are_refused() {
        assert_eq!(rest_of(&[b'B'; 16]), None);
        assert_eq!(rest_of(&[b'l', 1, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse(&[b'l', 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 1]), None);
    }
}
