//! What the shim knows of a container and its processes.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use nix::unistd::Pid;

use super::Reply;
use super::call::Call;
use crate::cgroup::Cgroup;
use crate::oom::Watch;
use crate::options::Options;
use crate::process::{Exit, Phase};
use crate::runtime::Runtime;
use crate::stdio::{Opened, Places, Streams};

pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) options: Options,
    /// By exec id; init's is empty.
    pub(crate) processes: BTreeMap<String, Process>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) oom: Option<(u32, Watch)>,
    pub(crate) own_pids: bool,
    /// Images to restore from instead of creating anew.
    pub(crate) checkpoint: Option<PathBuf>,
    /// Init has ended, but the processes that share a pid namespace with it have not yet.
    pub(crate) lingering: Option<Exit>,
}

pub(crate) struct Process {
    pub(crate) places: Places,
    pub(crate) phase: Phase,
    pub(crate) pid: Option<Pid>,
    pub(crate) exit: Option<Exit>,
    /// It ended while its start was under way: the start has to be told first.
    pub(crate) held: Option<Exit>,
    /// A client has said that no more input will come.
    pub(crate) stdin_closed: bool,
    pub(crate) waiters: Vec<Reply>,
    pub(crate) streams: Streams,
    /// An exec's process as JSON, until it is started.
    pub(crate) spec: Vec<u8>,
    /// Streams of a container that is to be restored, until it is started.
    pub(crate) prepared: Option<Opened>,
    pub(crate) activity: Activity,
    pub(crate) queue: VecDeque<(Reply, Call)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Activity {
    Idle,
    Starting,
    Busy,
}

impl Process {
    pub(crate) fn new(places: Places) -> Process {
        Process {
            places,
            phase: Phase::Created,
            pid: None,
            exit: None,
            held: None,
            stdin_closed: false,
            waiters: Vec::new(),
            streams: Streams::default(),
            spec: Vec::new(),
            prepared: None,
            activity: Activity::Idle,
            queue: VecDeque::new(),
        }
    }

    /// The process id as messages carry it: 0 before there is one.
    pub(crate) fn number(&self) -> u32 {
        self.pid.and_then(|pid| u32::try_from(pid.as_raw()).ok()).unwrap_or(0)
    }
}
