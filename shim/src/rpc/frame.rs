//! A ttrpc frame: length, stream, type and flags, ten bytes big-endian, then the payload.

use crate::error::{self, Error};

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
    pub(crate) payload: Payload,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    Whole(Vec<u8>),
    /// So long that it is not kept: that is an error of this call, and the connection goes on.
    TooLong(usize),
}

/// A frame, and how many bytes that are still to come belong to it and are of no use.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Taken {
    pub(super) frame: Frame,
    pub(super) to_skip: usize,
}

impl Payload {
    pub(super) fn bytes(&self) -> Result<&[u8], Error> {
        match self {
            Payload::Whole(bytes) => Ok(bytes),
            Payload::TooLong(length) => Err(Error::new(
                error::Kind::Exhausted,
                format!("a message of {length} bytes is longer than {LIMIT}"),
            )),
        }
    }
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

/// Takes the first whole frame out of `bytes`; of one that is too long, what is there.
pub(super) fn take(bytes: &mut Vec<u8>) -> Option<Taken> {
    let &[a, b, c, d, e, f, g, h, kind, _flags] = bytes.first_chunk::<HEADER>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let stream = u32::from_be_bytes([e, f, g, h]);
    let kind = match kind {
        1 => Kind::Request,
        2 => Kind::Response,
        _ => Kind::Other,
    };
    let (payload, used) = if length > LIMIT {
        (Payload::TooLong(length), length.min(bytes.len() - HEADER))
    } else {
        (Payload::Whole(bytes.get(HEADER..HEADER + length)?.to_vec()), length)
    };
    bytes.drain(..HEADER + used);
    Some(Taken { frame: Frame { stream, kind, payload }, to_skip: length - used })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_these_bytes_and_comes_back_whole() {
        let mut bytes = encode(5, Kind::Request, b"abc");
        assert_eq!(bytes, b"\0\0\0\x03\0\0\0\x05\x01\0abc");
        bytes.extend(encode(7, Kind::Response, b""));
        let first = take(&mut bytes).unwrap();
        let payload = Payload::Whole(b"abc".to_vec());
        assert_eq!(first, Taken { frame: Frame { stream: 5, kind: Kind::Request, payload }, to_skip: 0 });
        assert_eq!(take(&mut bytes).unwrap().frame.stream, 7);
        assert_eq!(take(&mut bytes), None);
    }

    #[test]
    fn every_beginning_of_a_frame_waits_for_the_rest() {
        let whole = encode(5, Kind::Request, b"abc");
        for length in 0..whole.len() {
            let mut part = whole.get(..length).unwrap().to_vec();
            assert_eq!(take(&mut part), None);
            assert_eq!(part.len(), length);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_an_error_before_it_is_read() {
        let mut bytes = b"\x7f\xff\xff\xff\0\0\0\x01\x01\0abc".to_vec();
        let Taken { frame, to_skip } = take(&mut bytes).unwrap();
        assert_eq!((frame.stream, to_skip, bytes.len()), (1, 0x7fff_ffff - 3, 0));
        assert_eq!(
            frame.payload.bytes().unwrap_err().to_string(),
            "a message of 2147483647 bytes is longer than 4194304"
        );
    }
}
