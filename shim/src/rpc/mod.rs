//! ttrpc without a thread for each call: frames in, frames out, nothing waits.
//!
//! The `ttrpc` crate gives the messages; its server does not fit here: it keeps five threads for a connection and one more
//! for every call that waits, and each `Wait` of a container waits for as long as the container lives.
//!
//! Invariant: no call of this room blocks, whatever a peer does or does not send.

mod frame;
mod peer;

pub(crate) use frame::{Kind, Payload};
pub(crate) use peer::Peer;

use protobuf::Message;
use ttrpc::proto::{Request, Response, Status};

use crate::error::Error;

/// A call as it arrives.
pub(crate) fn request(payload: &Payload) -> Result<Request, Error> {
    Request::parse_from_bytes(payload.bytes()?)
        .map_err(|e| Error::new(crate::error::Kind::Invalid, format!("parse a ttrpc request: {e}")))
}

/// The frame that answers the call `stream` with an encoded message.
pub(crate) fn success(stream: u32, payload: Vec<u8>) -> Vec<u8> {
    let response = Response { status: Some(Status::default()).into(), payload, ..Response::default() };
    frame::encode(stream, Kind::Response, &response.write_to_bytes().unwrap_or_default())
}

/// The frame that answers the call `stream` with an error.
pub(crate) fn failure(stream: u32, error: &Error) -> Vec<u8> {
    let response = Response { status: Some(error.status()).into(), ..Response::default() };
    frame::encode(stream, Kind::Response, &response.write_to_bytes().unwrap_or_default())
}

/// The frame of a call of ours.
pub(crate) fn call(stream: u32, request: &Request) -> Vec<u8> {
    frame::encode(stream, Kind::Request, &request.write_to_bytes().unwrap_or_default())
}

/// The error in an answer to a call of ours, if it holds one.
pub(crate) fn refused(payload: &Payload) -> Option<String> {
    let bytes = match payload.bytes() {
        Ok(bytes) => bytes,
        Err(error) => return Some(error.to_string()),
    };
    match Response::parse_from_bytes(bytes) {
        Ok(response) => {
            let status = response.status.into_option()?;
            (status.code.value() != 0).then_some(status.message)
        }
        Err(error) => Some(error.to_string()),
    }
}
