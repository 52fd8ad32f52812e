//! The task service: one loop on one thread, over everything that can happen.
//!
//! A call that needs the runtime starts it and returns; when the runtime ends, the call is taken up again (`jobs`). So no
//! call holds a thread while it waits, and the order of exits, starts and events is the order in which this loop sees them.
//!
//! Invariant: every call is answered exactly once, unless its client is gone.

mod call;
mod clients;
mod container;
mod control;
mod create;
mod delete;
mod exec;
mod exits;
mod jobs;
mod launch;
mod query;
mod start;
mod streams;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use containerd_shim_protos::api;
use nix::unistd::Pid;
use protobuf::Message;
use protobuf::well_known_types::empty::Empty;

pub(crate) use self::create::{PID_FILE, read_pid};

use self::call::Call;
use self::container::{Activity, Container, Process};
use self::delete::Leaving;
use self::jobs::Job;
use self::launch::Parked;
use crate::error::{Doing, Error, Kind};
use crate::events::{Connection, Publisher};
use crate::log;
use crate::process::Key;
use crate::rpc::Peer;
use crate::source::Source;
use crate::stdio::Pumps;
use crate::sys::poll::{Caught, Interest, Poll, Signals};
use crate::sys::{heap, limits};

/// With no container and no client left, nobody will ever call again: containerd is gone. It reconnects within this time
/// when it was merely restarted, and has nothing to find here if it does not.
const IDLE: Duration = Duration::from_secs(60);

/// How long the last events may take when the shim is asked to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long the shim rests before it gives memory back: not between the calls of one burst.
const REST: Duration = Duration::from_secs(2);

/// What `start` prepared.
pub(crate) struct Setup {
    pub(crate) listener: OwnedFd,
    pub(crate) socket: PathBuf,
    pub(crate) namespace: String,
    pub(crate) events: String,
    pub(crate) debug: bool,
}

/// Whom to answer, and how long he waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    client: u32,
    stream: u32,
    until: Option<Instant>,
}

/// What a call came to for now.
enum Outcome {
    Answer(Vec<u8>),
    /// The runtime, or time, will tell.
    Later,
}

fn answer(message: &impl Message) -> Result<Outcome, Error> {
    let bytes =
        message.write_to_bytes().map_err(|e| Error::new(Kind::System, format!("encode an answer: {e}")))?;
    Ok(Outcome::Answer(bytes))
}

fn done() -> Result<Outcome, Error> {
    answer(&Empty::default())
}

/// What a child of the shim is.
enum Child {
    Job,
    Process(Key),
    Logger(Key),
}

struct Shim {
    poll: Poll,
    signals: Signals,
    setup: Setup,
    clients: BTreeMap<u32, (Peer, Interest)>,
    containers: BTreeMap<String, Container>,
    /// Containers the runtime is making, and the calls that wait for each.
    creating: BTreeMap<String, Vec<(Reply, Call)>>,
    children: BTreeMap<Pid, Child>,
    jobs: BTreeMap<Pid, Job>,
    /// Calls that wait for a logging program or for the reader of a fifo.
    launches: BTreeMap<u32, Parked>,
    leaving: Vec<Leaving>,
    /// Logging programs that were asked to end, and when they are made to.
    dismissed: Vec<(Pid, Instant)>,
    /// No descriptor was left for a new connection: when to look again.
    accept_at: Option<Instant>,
    pumps: Pumps,
    events: Publisher,
    /// Numbers that are used once: for clients, files in bundles, polls.
    serial: u32,
    idle_since: Instant,
    stopping: Option<Instant>,
    /// When to give back the memory that a burst of calls has left free.
    tidy_at: Option<Instant>,
}

/// Serves until containerd says shutdown, or is gone for good.
pub(crate) fn serve(setup: Setup) -> Result<(), Error> {
    let doing = || "prepare the event loop".to_owned();
    nix::sys::prctl::set_child_subreaper(true).doing(|| "become a subreaper".into())?;
    if let Err(error) = limits::raise_descriptors() {
        log::warn(format!("no more descriptors than usual: {error}"));
    }
    let poll = Poll::new().doing(doing)?;
    let signals = Signals::catch().doing(doing)?;
    poll.add(&signals, Interest::Read, Source::Signals.token()).doing(doing)?;
    poll.add(&setup.listener, Interest::Read, Source::Listener.token()).doing(doing)?;
    let events = Publisher::new(&setup.events, &setup.namespace);
    let mut shim = Shim {
        poll,
        signals,
        setup,
        clients: BTreeMap::new(),
        containers: BTreeMap::new(),
        creating: BTreeMap::new(),
        children: BTreeMap::new(),
        jobs: BTreeMap::new(),
        launches: BTreeMap::new(),
        leaving: Vec::new(),
        dismissed: Vec::new(),
        accept_at: None,
        pumps: Pumps::default(),
        events,
        serial: 0,
        idle_since: Instant::now(),
        stopping: None,
        tidy_at: None,
    };
    shim.run()
}

impl Shim {
    fn run(&mut self) -> Result<(), Error> {
        while !self.is_over() {
            let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            let tokens = self.poll.wait(timeout).doing(|| "wait for events".into())?;
            let mut sources: Vec<Source> = tokens.into_iter().filter_map(Source::from_token).collect();
            sources.sort(); // one order whatever the kernel's: clients last, so that calls see exits that came before them
            for source in sources {
                self.take(source)?;
            }
            self.look_at_launches();
            self.pumps.overlooked().into_iter().for_each(|serial| self.pump(serial));
            self.leave_those_overdue();
            self.accept_again();
            self.end_the_stubborn();
            self.publish();
            self.tidy();
        }
        Ok(())
    }

    fn take(&mut self, source: Source) -> Result<(), Error> {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.take_signals()?,
            Source::Events => self.events.receive(),
            Source::Client(serial) => self.receive(serial),
            Source::Pump(serial) => self.pump(serial),
            Source::Oom(serial) => self.oom(serial),
            Source::Launch(serial) => self.awaited_spoke(serial),
        }
        Ok(())
    }

    fn tidy(&mut self) {
        if self.jobs.is_empty() && self.tidy_at.take_if(|at| Instant::now() >= *at).is_some() {
            heap::release();
        }
    }

    fn take_signals(&mut self) -> Result<(), Error> {
        while let Some(caught) = self.signals.next().doing(|| "read signals".into())? {
            match caught {
                Caught::Child => self.reap()?,
                // A shim that ended now would take its containers' streams with it: containerd decides when.
                Caught::Terminate if self.containers.is_empty() && self.creating.is_empty() => self.stop(),
                Caught::Terminate => log::warn("asked to terminate while containers are left: ignored"),
            }
        }
        Ok(())
    }

    /// Makes a call, or lets it wait for the one its process is busy with.
    fn handle(&mut self, reply: Reply, call: Call) {
        if let Some(waiting) = call.container().and_then(|id| self.creating.get_mut(id)) {
            waiting.push((reply, call));
            return;
        }
        if let Some(key) = call.queue()
            && let Some(process) = self.process_mut(&key)
            && process.activity != Activity::Idle
        {
            process.queue.push_back((reply, call));
            return;
        }
        match self.begin(reply, call) {
            Ok(Outcome::Answer(bytes)) => self.reply(Some(reply), Ok(bytes)),
            Ok(Outcome::Later) => {}
            Err(error) => self.reply(Some(reply), Err(error)),
        }
    }

    fn begin(&mut self, reply: Reply, call: Call) -> Result<Outcome, Error> {
        match call {
            Call::Create(call) => self.create(reply, *call),
            Call::Start(call) => self.start(reply, &call),
            Call::Exec(call) => self.exec(*call),
            Call::Delete(call) => self.delete(reply, &call),
            Call::Kill(call) => self.kill(reply, &call),
            Call::Pause(call) => self.pause(reply, &call.id),
            Call::Resume(call) => self.resume(reply, &call.id),
            Call::Update(call) => self.update(reply, call),
            Call::Checkpoint(call) => self.checkpoint(reply, call),
            Call::Pids(call) => self.pids(reply, call.id),
            Call::State(call) => self.state(&call),
            Call::Wait(call) => self.wait(reply, &call),
            Call::Stats(call) => self.stats(&call),
            Call::Connect(call) => self.connect(&call),
            Call::ResizePty(call) => self.resize(&call),
            Call::CloseIo(call) => self.close_io(&call),
            Call::Shutdown(call) => self.shut_down(&call),
        }
    }

    fn publish(&mut self) {
        let connection = self.events.advance();
        let Some((fd, interest)) = self.events.polled() else { return };
        let result = match connection {
            Connection::New => self.poll.add(fd, interest, Source::Events.token()),
            Connection::Same => self.poll.change(fd, interest, Source::Events.token()),
        };
        if let Err(error) = result {
            log::warn(format!("watch the connection to containerd: {error}"));
        }
    }

    fn shut_down(&mut self, request: &api::ShutdownRequest) -> Result<Outcome, Error> {
        if self.containers.is_empty() && self.creating.is_empty() {
            self.stop();
            if request.now {
                self.stopping = Some(Instant::now()); // events that are not told yet never will be
            }
        }
        done()
    }

    /// Ends the loop as soon as containerd knows everything. The socket goes at once: a container started from now on gets
    /// a shim of its own.
    fn stop(&mut self) {
        drop(std::fs::remove_file(&self.setup.socket));
        self.stopping.get_or_insert(Instant::now() + FAREWELL);
    }

    fn is_over(&mut self) -> bool {
        if self.stopping.is_none() && self.is_idle() && self.idle_since.elapsed() >= IDLE {
            self.stop();
        }
        let told = self.events.is_empty()
            && self.dismissed.is_empty()
            && self.clients.values().all(|(_, interest)| *interest == Interest::Read);
        self.stopping.is_some_and(|deadline| (told && self.jobs.is_empty()) || Instant::now() >= deadline)
    }

    fn is_idle(&self) -> bool {
        self.containers.is_empty()
            && self.clients.is_empty()
            && self.jobs.is_empty()
            && self.launches.is_empty()
    }

    /// When the loop has to look round even if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let idle = self.is_idle().then(|| self.idle_since + IDLE);
        let leaving = self.leaving.iter().map(|leaving| leaving.deadline);
        let tidy = self.tidy_at.filter(|_| self.jobs.is_empty());
        let dismissed = self.dismissed.iter().map(|(_, at)| *at);
        leaving
            .chain(dismissed)
            .chain(idle)
            .chain(self.stopping)
            .chain(tidy)
            .chain(self.accept_at)
            .chain(self.launch_deadline())
            .chain(self.pumps.look_at)
            .chain(self.events.deadline())
            .min()
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, Error> {
        self.containers.get_mut(id).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("container {id}: there is no such container in this shim"))
        })
    }

    fn process(&mut self, key: &Key) -> Result<&mut Process, Error> {
        let missing = || {
            Error::new(Kind::NotFound, format!("process {}: there is none in {}", key.exec, key.container))
        };
        self.container(&key.container)?.processes.get_mut(&key.exec).ok_or_else(missing)
    }

    fn process_mut(&mut self, key: &Key) -> Option<&mut Process> {
        self.containers.get_mut(&key.container)?.processes.get_mut(&key.exec)
    }
}

fn init(container: &str) -> Key {
    Key { container: container.to_owned(), exec: String::new() }
}
