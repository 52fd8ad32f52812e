//! What happened, told to containerd.
//!
//! Invariant: events arrive in the order in which they were published, and none is skipped while containerd is away. Only
//! one is under way at a time: containerd answers calls of one connection in parallel and would shuffle them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::timestamp::Timestamp;
use ttrpc::proto::Request;

use crate::log;
use crate::rpc::{self, Peer};
use crate::sys::poll::Interest;
use crate::sys::socket;

/// How long containerd gets to come back before the next attempt.
const PAUSE: Duration = Duration::from_millis(500);

/// While containerd is away this many are kept; the oldest goes first. At some 200 bytes each that is 1 MiB.
const KEPT: usize = 4096;

pub(crate) struct Publisher {
    address: PathBuf,
    namespace: String,
    queue: VecDeque<Request>,
    peer: Option<Peer>,
    in_flight: bool,
    stream: u32,
    retry: Option<Instant>,
}

impl Publisher {
    /// `address` is a path, with or without `unix://`.
    pub(crate) fn new(address: &str, namespace: &str) -> Publisher {
        Publisher {
            address: PathBuf::from(address.strip_prefix("unix://").unwrap_or(address)),
            namespace: namespace.to_owned(),
            queue: VecDeque::new(),
            peer: None,
            in_flight: false,
            stream: 1,
            retry: None,
        }
    }

    /// Puts `event` at the end of the queue.
    pub(crate) fn publish<E: Message>(&mut self, topic: &str, event: &E) {
        let any = Any {
            // Not by the message's descriptor: that would parse, and keep, the reflection of every file it depends on.
            type_url: format!("containerd.events.{}", E::NAME),
            value: event.write_to_bytes().unwrap_or_default(),
            ..Any::default()
        };
        let envelope = Envelope {
            timestamp: Some(now()).into(),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: Some(any).into(),
            ..Envelope::default()
        };
        let forward = ForwardRequest { envelope: Some(envelope).into(), ..ForwardRequest::default() };
        self.queue.push_back(Request {
            service: "containerd.services.events.ttrpc.v1.Events".into(),
            method: "Forward".into(),
            payload: forward.write_to_bytes().unwrap_or_default(),
            ..Request::default()
        });
        if self.queue.len() > KEPT {
            self.queue.remove(usize::from(self.in_flight));
            log::warn(format!("containerd is away: an event older than {KEPT} others is lost"));
        }
    }

    /// Connects if there is something to say, and says it. A new connection is for the caller to poll.
    pub(crate) fn advance(&mut self) -> Connection {
        let mut connection = Connection::Same;
        if self.in_flight || self.queue.is_empty() || self.address.as_os_str().is_empty() {
            return connection;
        }
        if self.peer.is_none() {
            if self.retry.is_some_and(|at| Instant::now() < at) {
                return connection;
            }
            let Ok(socket) = socket::connect_to(&self.address) else {
                self.retry = Some(Instant::now() + PAUSE);
                return connection;
            };
            self.peer = Some(Peer::new(socket));
            connection = Connection::New;
        }
        if let (Some(peer), Some(next)) = (self.peer.as_mut(), self.queue.front()) {
            if peer.send(&rpc::call(self.stream, next)).is_ok() {
                self.stream = self.stream.wrapping_add(2); // a client's streams are odd
                self.in_flight = true;
            } else {
                self.hang_up();
            }
        }
        connection
    }

    /// Takes the answers that have arrived.
    pub(crate) fn receive(&mut self) {
        let Some(peer) = self.peer.as_mut() else { return };
        match peer.flush().and_then(|()| peer.receive()) {
            Ok(frames) => {
                for frame in frames.iter().filter(|frame| frame.kind == rpc::Kind::Response) {
                    if let Some(reason) = rpc::refused(&frame.payload) {
                        log::warn(format!("containerd refused an event: {reason}"));
                    }
                    self.queue.pop_front();
                    self.in_flight = false;
                }
            }
            Err(_) => self.hang_up(),
        }
    }

    /// The event under way stays at the head of the queue and is sent again: twice is better than never.
    fn hang_up(&mut self) {
        self.peer = None;
        self.in_flight = false;
        self.retry = Some(Instant::now() + PAUSE);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When `advance` has to be called though nothing was received.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry.filter(|_| !self.queue.is_empty() && self.peer.is_none())
    }

    pub(crate) fn polled(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        self.peer.as_ref().map(|peer| (peer.as_fd(), peer.interest()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Connection {
    Same,
    New,
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
        ..Timestamp::default()
    }
}
