//! Opening what a client named, and the pipes that go to the container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::logger::{self, Program, Subject, Word};
use super::pump::{Direction, Pump, Way};
use super::reader::{self, Fifo, Missing};
use super::target::{self, Target};
use super::{ConsoleSocket, Places};
use crate::error::{Doing, Error, Kind};
use crate::sys::child::Io;
use crate::sys::fd;

pub(crate) struct Wanted<'a> {
    pub(crate) places: &'a Places,
    pub(crate) bundle: &'a Path,
    /// The process's: a container's, or an exec's.
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
    /// Owner of the container's ends of the pipes.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) serial: u64,
}

/// Streams that are open, before there is a process.
pub(crate) struct Opened {
    /// For the runtime, which passes them on.
    pub(crate) io: Io,
    pub(crate) pumps: Vec<Pump>,
    pub(crate) stdin_keeper: Option<OwnedFd>,
    pub(crate) logger: Option<Pid>,
    pub(crate) console: Option<ConsoleSocket>,
    /// What must have come before the process is started.
    pub(crate) awaited: Vec<Awaited>,
    /// With a terminal, the two ends that its pumps will need.
    input: Option<OwnedFd>,
    sink: Option<OwnedFd>,
}

/// What the output goes to and is not there yet.
pub(crate) enum Awaited {
    Logger(Word),
    Reader(Missing, Output),
}

/// The place of an output among what is open.
#[derive(Clone, Copy)]
pub(crate) enum Output {
    Terminal,
    Pump(usize),
}

impl Awaited {
    /// What tells that it may have come; without it, it has to be looked for.
    pub(crate) fn polled(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Awaited::Logger(word) => Some(word.as_fd()),
            Awaited::Reader(missing, _) => missing.polled(),
        }
    }

    /// It has not come in time.
    pub(crate) fn overdue(&self) -> Error {
        let what = match self {
            Awaited::Logger(_) => "wait for the logging program: it was not ready in time".into(),
            Awaited::Reader(missing, _) => {
                format!("wait for a reader of {}: nobody opened it in time", missing.path().display())
            }
        };
        Error::new(Kind::System, what)
    }
}

pub(crate) fn open(wanted: &Wanted) -> Result<Opened, Error> {
    let mut opened = Opened {
        io: Io::default(),
        pumps: Vec::new(),
        stdin_keeper: None,
        logger: None,
        console: None,
        awaited: Vec::new(),
        input: None,
        sink: None,
    };
    open_input(wanted, &mut opened)?;
    if wanted.places.terminal {
        open_terminal(wanted, &mut opened)?;
    } else {
        open_outputs(wanted, &mut opened)?;
    }
    Ok(opened)
}

impl Opened {
    /// Whether what was awaited has come; to be asked no more when it has.
    pub(crate) fn has_come(&mut self, awaited: &Awaited) -> Result<bool, Error> {
        match awaited {
            Awaited::Logger(word) => word.is_given(),
            Awaited::Reader(missing, output) => {
                let Some(end) = missing.came()? else { return Ok(false) };
                match *output {
                    Output::Terminal => self.sink = Some(end),
                    Output::Pump(place) => {
                        if let Some(pump) = self.pumps.get_mut(place) {
                            pump.to = end;
                        }
                    }
                }
                Ok(true)
            }
        }
    }

    /// The pumps between the terminal that the runtime sent and the client.
    pub(crate) fn attach(&mut self, master: &OwnedFd) -> Result<(), Error> {
        let copy = || master.try_clone().doing(|| "copy a descriptor".into());
        let sink = match self.sink.take() {
            Some(sink) => sink,
            None => fd::null().doing(|| "open /dev/null".into())?,
        };
        self.pumps.push(Pump::new(copy()?, sink, Way::Copy, Direction::Output));
        if let Some(input) = self.input.take() {
            self.pumps.push(Pump::new(input, copy()?, Way::Copy, Direction::Input));
        }
        Ok(())
    }
}

fn open_input(wanted: &Wanted, opened: &mut Opened) -> Result<(), Error> {
    let path = match target::parse(&wanted.places.stdin)? {
        Target::Nothing => return Ok(()),
        Target::Path(path) => path,
        _ => return Err(Error::new(Kind::Invalid, format!("stdin {}: not a fifo", wanted.places.stdin))),
    };
    let doing = || format!("open {}", path.display());
    let source = fd::open_path(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).doing(doing)?;
    if is_fifo(&path) {
        opened.stdin_keeper = Some(fd::open_path(&path, OFlag::O_WRONLY | OFlag::O_NONBLOCK).doing(doing)?);
    }
    if wanted.places.terminal {
        opened.input = Some(source);
        return Ok(());
    }
    let pipe = fd::pipe().doing(|| "make a pipe".into())?;
    fd::set_nonblocking(&pipe.write).doing(|| "make a pipe".into())?;
    own(wanted, &pipe.read)?;
    opened.io.stdin = Some(pipe.read);
    opened.pumps.push(Pump::new(source, pipe.write, Way::Splice, Direction::Input));
    Ok(())
}

fn open_terminal(wanted: &Wanted, opened: &mut Opened) -> Result<(), Error> {
    opened.console = Some(ConsoleSocket::open(wanted.bundle, wanted.serial)?);
    opened.sink = match target::parse(&wanted.places.stdout)? {
        Target::Nothing => None,
        Target::Path(path) => Some(shown_on(open_sink(&path)?, opened)),
        Target::File(path) => Some(shown_on(create_sink(&path)?, opened)),
        Target::Program { path, arguments, readiness } => {
            let program = Program { path: &path, arguments: &arguments, readiness };
            let [stdout, stderr] = start_logger(wanted, &program, opened)?;
            drop(stderr); // a terminal has but one output
            fd::set_nonblocking(&stdout).doing(|| "make a pipe".into())?;
            Some(stdout)
        }
    };
    Ok(())
}

fn shown_on(sink: Sink, opened: &mut Opened) -> OwnedFd {
    opened.awaited.extend(sink.missing.map(|missing| Awaited::Reader(missing, Output::Terminal)));
    sink.end
}

fn open_outputs(wanted: &Wanted, opened: &mut Opened) -> Result<(), Error> {
    match target::parse(&wanted.places.stdout)? {
        // A program, and a file that is made here, take both streams, whatever was said of stderr.
        Target::Program { path, arguments, readiness } => {
            let program = Program { path: &path, arguments: &arguments, readiness };
            let [stdout, stderr] = start_logger(wanted, &program, opened)?;
            own(wanted, &stdout)?;
            own(wanted, &stderr)?;
            opened.io.stdout = Some(stdout);
            opened.io.stderr = Some(stderr);
        }
        Target::File(path) => {
            opened.io.stdout = Some(output(wanted, opened, create_sink(&path)?)?);
            opened.io.stderr = Some(output(wanted, opened, create_sink(&path)?)?);
        }
        Target::Path(path) => {
            opened.io.stdout = Some(output(wanted, opened, open_sink(&path)?)?);
            opened.io.stderr = open_stderr(wanted, opened)?;
        }
        Target::Nothing => opened.io.stderr = open_stderr(wanted, opened)?,
    }
    Ok(())
}

fn open_stderr(wanted: &Wanted, opened: &mut Opened) -> Result<Option<OwnedFd>, Error> {
    match target::parse(&wanted.places.stderr)? {
        Target::Nothing => Ok(None),
        Target::Path(path) => output(wanted, opened, open_sink(&path)?).map(Some),
        Target::File(path) => output(wanted, opened, create_sink(&path)?).map(Some),
        Target::Program { .. } => Err(Error::new(
            Kind::Invalid,
            format!("stderr {}: only with the same stdout", wanted.places.stderr),
        )),
    }
}

/// A pipe whose writing end is the container's, pumped into a sink.
fn output(wanted: &Wanted, opened: &mut Opened, sink: Sink) -> Result<OwnedFd, Error> {
    let pipe = fd::pipe().doing(|| "make a pipe".into())?;
    fd::set_nonblocking(&pipe.read).doing(|| "make a pipe".into())?;
    own(wanted, &pipe.write)?;
    let place = Output::Pump(opened.pumps.len());
    opened.awaited.extend(sink.missing.map(|missing| Awaited::Reader(missing, place)));
    opened.pumps.push(Pump::new(pipe.read, sink.end, sink.way, Direction::Output));
    Ok(pipe.write)
}

fn start_logger(wanted: &Wanted, program: &Program, opened: &mut Opened) -> Result<[OwnedFd; 2], Error> {
    let (stdout, stderr) = (fd::pipe(), fd::pipe());
    let (stdout, stderr) = (stdout.doing(|| "make a pipe".into())?, stderr.doing(|| "make a pipe".into())?);
    let subject = Subject { id: wanted.id, namespace: wanted.namespace };
    let (pid, word) = logger::start(program, &subject, [stdout.read, stderr.read])?;
    opened.logger = Some(pid);
    opened.awaited.push(Awaited::Logger(word));
    Ok([stdout.write, stderr.write])
}

struct Sink {
    end: OwnedFd,
    way: Way,
    missing: Option<Missing>,
}

impl Sink {
    /// splice refuses files that are appended to.
    fn file(end: OwnedFd) -> Sink {
        Sink { end, way: Way::Copy, missing: None }
    }
}

fn open_sink(path: &Path) -> Result<Sink, Error> {
    if is_fifo(path) {
        let Fifo { end, missing } = reader::open(path)?;
        return Ok(Sink { end, way: Way::Splice, missing });
    }
    // A device may be slow to open, and slow to write to.
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK;
    fd::open_path(path, flags).doing(|| format!("open {}", path.display())).map(Sink::file)
}

/// A file that is made if need be. What is there already need not be one.
fn create_sink(path: &Path) -> Result<Sink, Error> {
    if is_fifo(path) {
        return open_sink(path);
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).doing(|| format!("create {}", dir.display()))?;
    }
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_CREAT;
    fd::open_path(path, flags).doing(|| format!("open {}", path.display())).map(Sink::file)
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

fn own(wanted: &Wanted, end: &OwnedFd) -> Result<(), Error> {
    if (wanted.uid, wanted.gid) == (0, 0) {
        return Ok(());
    }
    fd::chown(end, wanted.uid, wanted.gid).doing(|| format!("give a pipe to {}:{}", wanted.uid, wanted.gid))
}
