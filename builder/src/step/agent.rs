//! `RUN --mount=type=ssh`: a socket of the step's own before the user's agent.
//!
//! An agent answers its own user only, and its socket has that user's mode: the step's has the owner and mode that the
//! mount asks for, and the builder, which is that user, passes on what is said.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, Uid, fchownat};

use crate::graph::Credential;
use crate::sys::{proc_path, root};

/// A step that opens more connections at a time than anybody needs gets no further ones.
const MOST_AT_ONCE: usize = 64;

/// The socket; nobody listens any more when it is dropped.
#[derive(Debug)]
pub(super) struct Agent {
    listener: UnixListener,
    pub(super) socket: PathBuf,
}

impl Agent {
    /// Listens in the new directory `place` for those who want to talk to the agent at `user`.
    pub(super) fn before(user: &Path, place: &Path, asked: &Credential) -> io::Result<Self> {
        std::fs::create_dir(place)?;
        let directory = root::open_dir(place)?;
        // By descriptor: a socket's name has room for 107 bytes.
        let listener = UnixListener::bind(Path::new(&proc_path(&directory)).join("agent"))?;
        let (uid, gid) = (Uid::from_raw(asked.uid), Gid::from_raw(asked.gid));
        fchownat(&directory, "agent", Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_bits_truncate(asked.mode);
        fchmodat(&directory, "agent", mode, FchmodatFlags::FollowSymlink)?;
        let (accepting, user) = (listener.try_clone()?, user.to_owned());
        std::thread::Builder::new().name("agent".to_owned()).spawn(move || accept(&accepting, &user))?;
        Ok(Self { listener, socket: place.join("agent") })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Wakes the thread that accepts; connections end with the step's processes.
        let _ = nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

fn accept(listener: &UnixListener, user: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    while let Ok((step, _)) = listener.accept() {
        if open.fetch_add(1, Ordering::Relaxed) >= MOST_AT_ONCE {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (user, open) = (user.to_owned(), Arc::clone(&open));
        let talk = std::thread::Builder::new().spawn(move || {
            // An agent that is gone ends the conversation, which is what the step sees.
            drop(UnixStream::connect(user).and_then(|agent| talk(&step, &agent)));
            open.fetch_sub(1, Ordering::Relaxed);
        });
        drop(talk); // it ends by itself
    }
}

fn talk(step: &UnixStream, agent: &UnixStream) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| pass(step, agent));
        pass(agent, step);
    });
    Ok(())
}

/// Passes bytes on until there are no more, and says so.
fn pass(mut from: &UnixStream, mut to: &UnixStream) {
    drop(io::copy(&mut from, &mut to)); // whichever side is gone, the other is told
    drop(to.shutdown(Shutdown::Write));
}
