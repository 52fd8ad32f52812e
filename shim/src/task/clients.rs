//! Connections: who may call, what arrives, what is answered.

use std::time::{Duration, Instant};

use ttrpc::proto::Request;

use super::call;
use super::{Reply, Shim};
use crate::error::Error;
use crate::log;
use crate::rpc::{self, Peer};
use crate::source::Source;
use crate::sys::poll::Interest;
use crate::sys::socket;

/// How long a connection waits for a descriptor before the next look.
const PAUSE: Duration = Duration::from_secs(1);

impl Shim {
    pub(super) fn accept(&mut self) {
        loop {
            let socket = match socket::accept(&self.setup.listener) {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                Err(error) => return self.accept_later(&error),
            };
            let ours = nix::unistd::geteuid().as_raw();
            if !socket::peer_uid(&socket).is_ok_and(|uid| uid == ours || uid == 0) {
                log::warn("a connection from another user was refused");
                continue;
            }
            let serial = self.next_serial();
            let peer = Peer::new(socket);
            if self.poll.add(&peer, Interest::Read, Source::Client(serial).token()).is_ok() {
                self.clients.insert(serial, (peer, Interest::Read));
            }
        }
    }

    /// The connection that cannot be taken stays, and would be reported again and again.
    fn accept_later(&mut self, error: &std::io::Error) {
        log::warn(format!("take a connection: {error}"));
        if self.poll.remove(&self.setup.listener).is_ok() {
            self.accept_at = Some(Instant::now() + PAUSE);
        }
    }

    pub(super) fn accept_again(&mut self) {
        if self.accept_at.take_if(|at| Instant::now() >= *at).is_some()
            && let Err(error) = self.poll.add(&self.setup.listener, Interest::Read, Source::Listener.token())
        {
            log::warn(format!("watch for connections: {error}"));
            self.accept_at = Some(Instant::now() + PAUSE);
        }
    }

    pub(super) fn receive(&mut self, client: u32) {
        let Some((peer, _)) = self.clients.get_mut(&client) else { return };
        match peer.flush().and_then(|()| peer.receive()) {
            Ok(frames) => {
                for frame in frames.into_iter().filter(|frame| frame.kind == rpc::Kind::Request) {
                    let mut reply = Reply { client, stream: frame.stream, until: None };
                    let call = rpc::request(&frame.payload).and_then(|request| {
                        reply.until = deadline(&request);
                        call::parse(&request)
                    });
                    match call {
                        Ok(call) => self.handle(reply, call),
                        Err(error) => self.reply(Some(reply), Err(error)),
                    }
                }
                self.repoll(client);
            }
            Err(_) => self.hang_up(client),
        }
    }

    pub(super) fn reply(&mut self, reply: Option<Reply>, result: Result<Vec<u8>, Error>) {
        let Some(Reply { client, stream, .. }) = reply else { return };
        let frame = match result {
            Ok(bytes) => rpc::success(stream, bytes),
            Err(error) => rpc::failure(stream, &error),
        };
        let Some((peer, _)) = self.clients.get_mut(&client) else { return };
        match peer.send(&frame) {
            Ok(()) => self.repoll(client),
            Err(_) => self.hang_up(client),
        }
    }

    fn repoll(&mut self, client: u32) {
        let Some((peer, polled)) = self.clients.get_mut(&client) else { return };
        let interest = peer.interest();
        if *polled != interest && self.poll.change(&*peer, interest, Source::Client(client).token()).is_ok() {
            *polled = interest;
        }
    }

    fn hang_up(&mut self, client: u32) {
        if let Some((peer, _)) = self.clients.remove(&client) {
            drop(self.poll.remove(&peer));
        }
        self.abandon_launches(client);
        for process in self.containers.values_mut().flat_map(|container| container.processes.values_mut()) {
            process.waiters.retain(|waiter| waiter.client != client);
        }
        self.idle_since = Instant::now();
    }
}

fn deadline(request: &Request) -> Option<Instant> {
    let nanos = u64::try_from(request.timeout_nano).ok().filter(|nanos| *nanos > 0)?;
    Instant::now().checked_add(Duration::from_nanos(nanos))
}
