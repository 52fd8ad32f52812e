//! A ttrpc frame: length, stream, type and flags, ten bytes big-endian, then the payload.

use std::io;

const HEADER: usize = 10;
/// ttrpc's own limit of a payload.
const LIMIT: usize = 4 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Request,
    Response,
    /// Streams, which no call of the task service uses.
    Other,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) stream: u32,
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
}

pub(super) fn encode(stream: u32, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let kind = match kind {
        Kind::Request => 1,
        Kind::Response => 2,
        Kind::Other => 3,
    };
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(payload);
    bytes
}

/// Takes the first whole frame out of `bytes`.
pub(super) fn take(bytes: &mut Vec<u8>) -> io::Result<Option<Frame>> {
    let Some(&[a, b, c, d, e, f, g, h, kind, _flags]) = bytes.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > LIMIT {
        return Err(io::Error::other(format!("a message of {length} bytes is longer than {LIMIT}")));
    }
    let Some(payload) = bytes.get(HEADER..HEADER + length) else { return Ok(None) };
    let kind = match kind {
        1 => Kind::Request,
        2 => Kind::Response,
        _ => Kind::Other,
    };
    let frame = Frame { stream: u32::from_be_bytes([e, f, g, h]), kind, payload: payload.to_vec() };
    bytes.drain(..HEADER + length);
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_these_bytes_and_comes_back_whole() {
        let mut bytes = encode(5, Kind::Request, b"abc");
        assert_eq!(bytes, b"\0\0\0\x03\0\0\0\x05\x01\0abc");
        bytes.extend(encode(7, Kind::Response, b""));
        let first = take(&mut bytes).unwrap().unwrap();
        assert_eq!(first, Frame { stream: 5, kind: Kind::Request, payload: b"abc".to_vec() });
        assert_eq!(take(&mut bytes).unwrap().unwrap().stream, 7);
        assert_eq!(take(&mut bytes).unwrap(), None);
    }

    #[test]
    fn every_beginning_of_a_frame_waits_for_the_rest() {
        let whole = encode(5, Kind::Request, b"abc");
        for length in 0..whole.len() {
            let mut part = whole.get(..length).unwrap().to_vec();
            assert_eq!(take(&mut part).unwrap(), None);
            assert_eq!(part.len(), length);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_an_error_before_it_is_read() {
        let mut bytes = b"\x7f\xff\xff\xff\0\0\0\x01\x01\0".to_vec();
        assert_eq!(
            take(&mut bytes).unwrap_err().to_string(),
            "a message of 2147483647 bytes is longer than 4194304"
        );
    }
}
