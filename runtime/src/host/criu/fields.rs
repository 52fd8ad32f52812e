//! The wire format of CRIU's service: protocol buffers, of which it needs numbers and byte strings only.
//!
//! By hand, because a crate for it brings generated code for all of CRIU's 70 options, a build script or a macro, and its own
//! dependencies, for two short messages (protobuf.dev, "Encoding").

/// A message that is being written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Fields(Vec<u8>);

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

impl Fields {
    /// Adds a number, an enumerator or a boolean.
    #[must_use]
    pub(super) fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value);
        self
    }

    /// Adds a text or bytes.
    #[must_use]
    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a message within this one.
    #[must_use]
    pub(super) fn part(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// The message as it is sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

/// The value of a field that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// As CRIU's int32: negative numbers come in 64 bits.
    pub(super) fn int(self) -> Option<i32> {
        match self {
            Self::Number(number) => i32::try_from(number.cast_signed()).ok(),
            Self::Bytes(_) => None,
        }
    }

    /// As text.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Number(_) => None,
        }
    }

    /// As a message within the message.
    pub(super) fn part(self) -> Option<Vec<(u32, Self)>> {
        match self {
            Self::Bytes(bytes) => read(bytes),
            Self::Number(_) => None,
        }
    }
}

/// All fields of a message; None where it is none. Fields of fixed width are passed over: CRIU's messages have none.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = u32::try_from(key >> 3).ok()?;
        match key & 7 {
            VARINT => fields.push((field, Value::Number(varint(&mut bytes)?))),
            BYTES => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                fields.push((field, Value::Bytes(take(&mut bytes, length)?)));
            }
            FIXED64 => _ = take(&mut bytes, 8)?,
            FIXED32 => _ = take(&mut bytes, 4)?,
            _ => return None,
        }
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let inner = Fields::default().number(1, 300).bytes(2, b"x");
        let message = Fields::default().number(71, u64::MAX).part(3, &inner);
        assert_eq!(message.as_bytes()[..2], [0xb8, 0x04]);
        let fields = read(message.as_bytes()).unwrap();
        let [(71, minus), (3, part)] = fields[..] else { panic!("{fields:?}") };
        assert_eq!(minus.int(), Some(-1));
        assert_eq!(part.part().unwrap(), [(1, Value::Number(300)), (2, Value::Bytes(b"x"))]);
    }

    #[test]
    fn what_is_cut_off_or_of_an_unknown_kind_is_no_message() {
        let message = Fields::default().number(1, 300).bytes(2, b"abc");
        let bytes = message.as_bytes();
        for length in [1, 2, 4, 5, bytes.len() - 1] {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
        assert_eq!(read(&[0x0b]), None);
        assert_eq!(read(&[0xff; 11]), None);
        assert_eq!(read(&[0x0d, 1, 2, 3, 4, 0x08, 5]), Some(vec![(1, Value::Number(5))]));
    }
}
