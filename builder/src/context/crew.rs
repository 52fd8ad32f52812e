//! Files are read and hashed on all cores, beside the walk that finds them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use nix::fcntl::OFlag;

use crate::store::{Digest, Hasher};
use crate::sys::root;

/// Each holds a directory open.
const WAITING: usize = 64;

/// A regular file: by its place, or itself.
pub(super) enum Regular {
    Child(Arc<OwnedFd>, OsString),
    Object(File),
}

struct Job {
    slot: usize,
    hasher: Hasher,
    file: Regular,
}

/// What became of the file that was given under a number.
pub(super) type Outcome = (usize, io::Result<Digest>);

/// Threads that begin with the first file.
pub(super) struct Crew<'s, 'e> {
    scope: &'s Scope<'s, 'e>,
    jobs: Option<SyncSender<Job>>,
    workers: Vec<ScopedJoinHandle<'s, Vec<Outcome>>>,
}

impl<'s, 'e> Crew<'s, 'e> {
    pub(super) fn new(scope: &'s Scope<'s, 'e>) -> Self {
        Self { scope, jobs: None, workers: Vec::new() }
    }

    /// Has the content of a file added to `hasher`.
    pub(super) fn give(&mut self, slot: usize, hasher: Hasher, file: Regular) -> io::Result<()> {
        if self.jobs.is_none() {
            self.begin()?;
        }
        let jobs = self.jobs.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        jobs.send(Job { slot, hasher, file }).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Waits for all files.
    pub(super) fn finish(mut self) -> io::Result<Vec<Outcome>> {
        self.jobs = None; // the workers end
        let mut outcomes = Vec::new();
        for worker in self.workers {
            let done = worker.join().map_err(|_| io::Error::other("a hashing thread ended early"))?;
            outcomes.extend(done);
        }
        Ok(outcomes)
    }

    fn begin(&mut self) -> io::Result<()> {
        let (jobs, queue) = sync_channel(WAITING);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(8) {
            let queue = Arc::clone(&queue);
            let worker = std::thread::Builder::new().name("hash".to_owned());
            self.workers.push(worker.spawn_scoped(self.scope, move || work(&queue))?);
        }
        self.jobs = Some(jobs);
        Ok(())
    }
}

fn work(queue: &Mutex<Receiver<Job>>) -> Vec<Outcome> {
    let (mut outcomes, mut buffer) = (Vec::new(), vec![0; 1 << 17]);
    loop {
        // Held while waiting: the others wait for the lock instead, which is the same.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { slot, mut hasher, file }) = job else { return outcomes };
        let added = add(&mut hasher, file, &mut buffer);
        outcomes.push((slot, added.map(|()| hasher.finish())));
    }
}

fn add(hasher: &mut Hasher, file: Regular, buffer: &mut [u8]) -> io::Result<()> {
    let mut file = match file {
        // O_NONBLOCK: another process may have put a FIFO in the file's place, which would hang.
        Regular::Child(at, name) => {
            File::from(root::open_child(at, &name, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?)
        }
        Regular::Object(file) => file,
    };
    loop {
        match file.read(buffer)? {
            0 => return Ok(()),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}
