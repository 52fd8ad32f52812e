//! A client of a shim's task service: ttrpc's frames and the few fields of protobuf that its calls need, written here once more so
//! that the shim's own encoding is not what checks it.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::containerd::PATIENCE;
use crate::process;

const SERVICE: &str = "containerd.task.v2.Task";
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// A message in protobuf's encoding, field by field.
#[derive(Debug, Default, Clone)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A string, bytes, or another message.
    pub(super) fn with(mut self, field: u8, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.0.push(field << 3 | 2);
        self.number(value.len());
        self.0.extend(value);
        self
    }

    /// A boolean that is true.
    pub(super) fn set(mut self, field: u8) -> Self {
        self.0.extend([field << 3, 1]);
        self
    }

    /// A number.
    pub(super) fn count(mut self, field: u8, value: usize) -> Self {
        self.0.push(field << 3);
        self.number(value);
        self
    }

    /// `google.protobuf.Any`.
    pub(super) fn any(type_url: &str, value: &str) -> Self {
        Self::default().with(1, type_url).with(2, value)
    }

    fn number(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.0.push(0x80 | u8::try_from(value & 0x7f).unwrap_or_default());
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or_default());
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A connection with at most one call at a time.
#[derive(Debug)]
pub(super) struct Client {
    socket: UnixStream,
    stream: u32,
}

impl Client {
    /// `address` is `unix://PATH`.
    pub(super) fn connect(address: &str) -> Result<Self> {
        let path = address.trim().strip_prefix("unix://").with_context(|| format!("read {address:?}"))?;
        let socket = UnixStream::connect(path).with_context(|| format!("connect to {path}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, stream: 1 })
    }

    /// Calls a method and waits for its answer, which is a success: the encoded response.
    pub(super) fn call(&mut self, method: &str, request: &Message) -> Result<Vec<u8>> {
        self.send(method, request)?;
        self.answer().with_context(|| method.to_owned())
    }

    pub(super) fn send(&mut self, method: &str, request: &Message) -> Result<()> {
        self.send_bounded(method, request, Duration::ZERO)
    }

    /// A call whose client will wait no longer than `bound`; none is zero.
    pub(super) fn send_bounded(&mut self, method: &str, request: &Message, bound: Duration) -> Result<()> {
        let mut request = Message::default().with(1, SERVICE).with(2, method).with(3, request);
        if !bound.is_zero() {
            request = request.count(4, usize::try_from(bound.as_nanos())?);
        }
        let mut frame = u32::try_from(request.0.len())?.to_be_bytes().to_vec();
        frame.extend(self.stream.to_be_bytes());
        frame.extend([REQUEST, 0]);
        frame.extend(request.0);
        Ok(self.socket.write_all(&frame)?)
    }

    /// Whether the answer begins to arrive within `bound`.
    pub(super) fn is_answered(&self, bound: Duration) -> Result<bool> {
        process::readable(self.socket.as_fd(), bound)
    }

    /// The answer to what was sent: an error is the shim's text.
    pub(super) fn answer(&mut self) -> Result<Vec<u8>> {
        let mut header = [0; 10];
        self.socket.read_exact(&mut header)?;
        let [a, b, c, d, stream @ .., kind, _flags] = header;
        ensure!(stream == self.stream.to_be_bytes() && kind == RESPONSE, "another answer: {header:?}");
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([a, b, c, d]))?];
        self.socket.read_exact(&mut payload)?;
        self.stream += 2;
        match status(&payload) {
            None => Ok(content(&payload).to_vec()),
            Some(text) => bail!("{text}"),
        }
    }
}

/// The text of a response's status, its first field, if there is one with a code.
fn status(response: &[u8]) -> Option<String> {
    let (&tag, rest) = response.split_first()?;
    let (&length, rest) = rest.split_first()?;
    // An answer without an error has no status, or an empty one.
    (tag == 1 << 3 | 2 && length > 0).then(|| String::from_utf8_lossy(rest).trim_start().to_owned())
}

/// The message in a response without an error.
fn content(response: &[u8]) -> &[u8] {
    let rest = match response {
        [0x0a, length, rest @ ..] => rest.get(usize::from(*length)..).unwrap_or_default(),
        all => all,
    };
    match rest {
        [0x12, rest @ ..] => varint(rest).map_or(&[], |(_, rest)| rest),
        _ => &[],
    }
}

/// The number in field `wanted` of a message whose fields are numbers, strings and messages; 0 where it is absent.
pub(super) fn number(message: &[u8], wanted: u64) -> u64 {
    let mut rest = message;
    while let Some((tag, after)) = varint(rest) {
        let Some((value, after)) = varint(after) else { return 0 };
        if tag & 7 == 0 && tag >> 3 == wanted {
            return value;
        }
        let skipped = if tag & 7 == 2 { usize::try_from(value).unwrap_or(usize::MAX) } else { 0 };
        rest = after.get(skipped..).unwrap_or_default();
    }
    0
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at_checked(length)?;
    let value = number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_these_bytes() {
        let long = "x".repeat(300);
        let message = Message::default().with(1, "ab").with(7, Message::any("t", "v")).with(2, &long);
        assert_eq!(message.0[..12], *b"\x0a\x02ab\x3a\x06\x0a\x01t\x12\x01v");
        assert_eq!(message.0[12..15], *b"\x12\xac\x02");
        assert_eq!(message.0.len(), 12 + 3 + 300);
    }

    #[test]
    fn a_number_is_found_behind_other_fields() {
        let message = Message::default().with(1, "id").count(3, 300).count(4, 2);
        assert_eq!((number(&message.0, 3), number(&message.0, 4), number(&message.0, 5)), (300, 2, 0));
        let response = Message::default().with(1, "").with(2, &message);
        assert_eq!(content(&response.0), message.0);
    }

    #[test]
    fn an_error_is_told_from_an_answer() {
        assert_eq!(status(b"\x12\x02\x08\x07"), None);
        assert_eq!(status(b""), None);
        assert_eq!(status(b"\x0a\x06\x08\x05\x12\x02no").as_deref(), Some("\x08\x05\x12\x02no"));
    }
}
