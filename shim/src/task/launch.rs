//! Starting a runtime, once what its container's output goes to is there.

use std::time::{Duration, Instant};

use super::create;
use super::jobs::{Job, Purpose, Then};
use super::{Child, Shim};
use crate::error::{Error, Kind};
use crate::runtime::{CallIo, Runtime};
use crate::source::Source;
use crate::stdio::Awaited;
use crate::sys::poll::Interest;

/// How long a client may take to open its fifos: containerd's own shim gives as much.
const OPENING: Duration = Duration::from_secs(30);

/// How soon to look again for what the kernel gives no word of.
const GLANCE: Duration = Duration::from_millis(50);

/// A runtime that is to be started.
pub(super) struct Launch {
    pub(super) runtime: Runtime,
    pub(super) line: Vec<String>,
    pub(super) io: CallIo,
    pub(super) purpose: Purpose,
}

/// A launch that waits for something.
pub(super) struct Parked {
    launch: Launch,
    awaited: Awaited,
    /// When the call was made ready otherwise.
    since: Instant,
    /// When to look for what no poll tells.
    look_at: Option<Instant>,
}

impl Parked {
    /// When it is given up: a reader has his time, and no call lasts longer than its client waits for it.
    fn until(&self) -> Option<Instant> {
        let reader = matches!(self.awaited, Awaited::Reader(..)).then(|| self.since + OPENING);
        let client = self.launch.purpose.reply.and_then(|reply| reply.until);
        reader.into_iter().chain(client).min()
    }

    fn deadline(&self) -> Option<Instant> {
        self.until().into_iter().chain(self.look_at).min()
    }
}

impl Shim {
    /// Starts a runtime, as soon as what its container's output goes to is there.
    pub(super) fn launch(&mut self, mut launch: Launch) {
        if let Some(pid) = launch.purpose.then.opened().and_then(|opened| opened.logger) {
            self.children.insert(pid, Child::Logger(launch.purpose.key.clone()));
        }
        self.launch_when_ready(launch, Instant::now());
    }

    fn launch_when_ready(&mut self, mut launch: Launch, since: Instant) {
        match launch.purpose.then.opened().and_then(|opened| opened.awaited.pop()) {
            Some(awaited) => self.park(Parked { launch, awaited, since, look_at: None }),
            None => self.launch_now(launch),
        }
    }

    fn park(&mut self, mut parked: Parked) {
        let serial = self.next_serial();
        match parked.awaited.polled() {
            None => parked.look_at = Some(Instant::now() + GLANCE),
            Some(fd) => {
                if let Err(error) = self.poll.add(fd, Interest::Read, Source::Launch(serial).token()) {
                    let error = Error::system("watch what the output goes to", error);
                    return self.not_launched(parked.launch, &error);
                }
            }
        }
        self.launches.insert(serial, parked);
    }

    /// The other way round.
    fn unpark(&mut self, serial: u32) -> Option<Parked> {
        let parked = self.launches.remove(&serial)?;
        if let Some(fd) = parked.awaited.polled() {
            drop(self.poll.remove(fd));
        }
        Some(parked)
    }

    /// Something has been heard of what a launch waits for, or it is time to look.
    pub(super) fn awaited_spoke(&mut self, serial: u32) {
        let Some(mut parked) = self.unpark(serial) else { return };
        let opened = parked.launch.purpose.then.opened();
        match opened.map_or(Ok(true), |opened| opened.has_come(&parked.awaited)) {
            Ok(true) => self.launch_when_ready(parked.launch, parked.since),
            Ok(false) if parked.until().is_some_and(|until| until <= Instant::now()) => {
                self.not_launched(parked.launch, &parked.awaited.overdue());
            }
            Ok(false) => self.park(parked),
            Err(error) => self.not_launched(parked.launch, &error),
        }
    }

    /// When a launch has to be looked at though nothing was heard.
    pub(super) fn launch_deadline(&self) -> Option<Instant> {
        self.launches.values().filter_map(Parked::deadline).min()
    }

    pub(super) fn look_at_launches(&mut self) {
        let now = Instant::now();
        let due = |parked: &Parked| parked.deadline().is_some_and(|at| at <= now);
        for serial in self.launches_where(due) {
            self.awaited_spoke(serial);
        }
    }

    /// What nobody asks for any more need not wait for what may never come.
    pub(super) fn abandon_launches(&mut self, client: u32) {
        let is_his =
            |parked: &Parked| parked.launch.purpose.reply.is_some_and(|reply| reply.client == client);
        for serial in self.launches_where(is_his) {
            if let Some(parked) = self.unpark(serial) {
                let error = Error::new(Kind::System, "its client hung up before its output had where to go");
                self.not_launched(parked.launch, &error);
            }
        }
    }

    fn launches_where(&self, claim: impl Fn(&Parked) -> bool) -> Vec<u32> {
        self.launches.iter().filter(|(_, parked)| claim(parked)).map(|(serial, _)| *serial).collect()
    }

    fn launch_now(&mut self, launch: Launch) {
        let Launch { runtime, line, io, purpose } = launch;
        let serial = u64::from(self.next_serial());
        match runtime.call(line, io, serial) {
            Ok(call) => {
                self.children.insert(call.pid, Child::Job);
                self.jobs.insert(call.pid, Job { call, purpose });
            }
            Err(error) => self.finish(purpose, Err(error.to_string())),
        }
    }

    fn not_launched(&mut self, launch: Launch, error: &Error) {
        if let Then::Create(creating) = &launch.purpose.then {
            create::forget(creating.bundle()); // no runtime was ever called
        }
        self.finish(launch.purpose, Err(error.to_string()));
    }
}
