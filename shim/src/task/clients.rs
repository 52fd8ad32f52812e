//! Connections: who may call, what arrives, what is answered.

use std::time::Instant;

use super::call;
use super::{Reply, Shim};
use crate::error::Error;
use crate::log;
use crate::rpc::{self, Peer};
use crate::source::Source;
use crate::sys::poll::Interest;
use crate::sys::socket;

impl Shim {
    pub(super) fn accept(&mut self) {
        while let Ok(Some(socket)) = socket::accept(&self.setup.listener) {
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

    pub(super) fn receive(&mut self, client: u32) {
        let Some((peer, _)) = self.clients.get_mut(&client) else { return };
        match peer.flush().and_then(|()| peer.receive()) {
            Ok(frames) => {
                for frame in frames.into_iter().filter(|frame| frame.kind == rpc::Kind::Request) {
                    let reply = Reply { client, stream: frame.stream };
                    match rpc::request(&frame.payload).and_then(|request| call::parse(&request)) {
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
        let Some(Reply { client, stream }) = reply else { return };
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
        self.idle_since = Instant::now();
    }
}
