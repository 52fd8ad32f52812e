//! A CRIU that serves one request over a socket (`criu swrk`).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, faccessat};

use super::fields::Fields;
use super::message::{Answer, Deed, Features, Notify, answer, reply, request};
use crate::error::{Error, Kind};
use crate::host::spawn::{Birth, Spawned, telling};
use crate::init::signals;
use crate::sys::{fds, pidfd};

/// A process that waits for a request.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) child: Spawned,
    socket: OwnedFd,
}

/// What its standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    Null,
    /// Ours, for the restored container to have them.
    Ours,
}

/// Whether CRIU outlives a runtime that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orphan {
    /// One that writes images ends what it has begun: killed at work it would leave the processes stopped.
    GoesOn,
    /// Nobody else would end one that waits for restored processes.
    Dies,
}

/// What is done when CRIU says where it is, with the descriptor that comes along. A process that is given back is one without which
/// CRIU cannot go on.
pub(super) type OnNotify<'a> = &'a mut dyn FnMut(&Notify, Option<OwnedFd>) -> Result<Option<OwnedFd>, Error>;

/// What the process is started with.
pub(super) struct Setting<'a> {
    pub(super) birth: Birth<'a>,
    pub(super) streams: Streams,
    /// Descriptors that it gets under the numbers that they have here.
    pub(super) keep: Vec<BorrowedFd<'a>>,
    /// Bit for each signal that our caller had ignored, from 1.
    pub(super) ignored_signals: u64,
    pub(super) orphan: Orphan,
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The largest message that is expected: a notification, or an error with its words.
const LONGEST: usize = 40 << 10;
/// How long CRIU may take to notice that the process that it restores has ended.
const PATIENCE_MS: u16 = 5000;

impl Service {
    /// Starts one; `first` is done in its process before CRIU takes it over.
    pub(super) fn start(
        setting: &Setting<'_>,
        first: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let program = find()?;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| Error::system("make a pair of sockets", errno))?;
        let theirs_raw = theirs.as_raw_fd();
        let child = telling(&setting.birth, || {
            first()?;
            Err(become_criu(&program, theirs_raw, setting))
        })?;
        Ok(Self { child, socket: ours })
    }

    /// Asks, lets `on` deal with what happens on the way, and gives the answer. When `on` fails, CRIU is told so and undoes its work.
    pub(super) fn ask(
        &self,
        (deed, options): (Deed, Option<&Fields>),
        on: OnNotify<'_>,
    ) -> Result<Answer, Error> {
        let wrong = |source| Error::system("talk to criu", source);
        let mut buffer = vec![0; LONGEST];
        let mut refused: Option<Error> = None;
        let mut needed: Option<OwnedFd> = None;
        fds::send(&self.socket, request(deed, options).as_bytes(), None).map_err(wrong)?;
        loop {
            if let Some(process) = &needed
                && !self.has_word(process)?
            {
                drop(pidfd::signal_child(&self.child.pidfd, self.child.pid, libc::SIGKILL));
                let text = format!("criu failed: type {}: the process has ended meanwhile", deed.name());
                return Err(refused.unwrap_or_else(|| Error::new(Kind::System, text)));
            }
            let received = fds::receive(&self.socket, &mut buffer);
            let (count, descriptor) = match (received, refused.is_some()) {
                (Err(_), true) => (0, None),
                (received, _) => received.map_err(wrong)?,
            };
            let told = buffer.get(..count).filter(|bytes| !bytes.is_empty()).and_then(answer);
            let lost = || Error::new(Kind::System, format!("criu failed: type {}: no answer", deed.name()));
            let Some(told) = told else { return Err(refused.unwrap_or_else(lost)) };
            match &told.notify {
                Some(notify) if told.success => {
                    let done = on(notify, descriptor);
                    // Where it has hung up meanwhile, the next message is missing.
                    drop(fds::send(&self.socket, reply(done.is_ok()).as_bytes(), None));
                    match done {
                        Ok(process) => needed = process.or(needed),
                        Err(error) => refused = refused.or(Some(error)),
                    }
                }
                None if told.success && refused.is_none() => return Ok(told),
                _ => return Err(refused.unwrap_or_else(|| failed(deed, &told))),
            }
        }
    }

    /// Waits for the next message, but not for one of a CRIU that waits itself, for a process that has ended.
    fn has_word(&self, process: &OwnedFd) -> Result<bool, Error> {
        let word = || PollFd::new(self.socket.as_fd(), PollFlags::POLLIN);
        let mut both = [word(), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        wait(&mut both, PollTimeout::NONE)?;
        if both.first().is_some_and(|socket| socket.any() == Some(true)) {
            return Ok(true);
        }
        // It may have noticed, and be about to say so.
        wait(&mut [word()], PATIENCE_MS.into()).map(|count| count > 0)
    }

    /// Hangs up, and waits for its end.
    pub(super) fn end(self) -> Result<pidfd::Exit, Error> {
        drop(self.socket);
        pidfd::wait(&self.child.pidfd).map_err(|source| Error::system("wait for criu", source))
    }
}

fn wait(watched: &mut [PollFd<'_>], limit: PollTimeout) -> Result<i32, Error> {
    loop {
        match poll(watched, limit) {
            Err(Errno::EINTR) => {}
            polled => return polled.map_err(|errno| Error::system("wait for criu", errno)),
        }
    }
}

fn failed(deed: Deed, answer: &Answer) -> Error {
    let words = answer.message.as_deref().map(|text| format!(": {}", text.trim_end())).unwrap_or_default();
    let text = format!("criu failed: type {} errno {}{words}", deed.name(), answer.errno);
    Error::new(Kind::System, text)
}

/// Engines often call without PATH.
fn find() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let is_program = |file: &PathBuf| {
        file.is_file() && faccessat(nix::fcntl::AT_FDCWD, file, AccessFlags::X_OK, AtFlags::empty()).is_ok()
    };
    std::env::split_paths(&path).map(|dir| dir.join("criu")).find(is_program).ok_or_else(|| {
        let text = "CRIU version check failed: exec: \"criu\": executable file not found in $PATH";
        Error::new(Kind::Unsupported, text).hint("checkpoint and restore need the program criu, 3.0 or later")
    })
}

/// Returns only when it fails.
fn become_criu(program: &Path, socket: i32, setting: &Setting<'_>) -> Error {
    let deed = || format!("exec {}", program.display());
    let ready = (|| {
        if setting.orphan == Orphan::Dies {
            set_pdeathsig(Signal::SIGKILL)
                .map_err(|errno| Error::system("tie criu to the runtime", errno))?;
        }
        signals::reset(setting.ignored_signals)?;
        signals::unblock()?;
        if setting.streams == Streams::Null {
            let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(|errno| Error::system("open /dev/null", errno))?;
            for number in 0..3 {
                fds::replace_stdio(&null, number)
                    .map_err(|source| Error::system("replace streams", source))?;
            }
        }
        let kept = setting.keep.iter().map(AsRawFd::as_raw_fd).chain([socket]);
        for number in kept {
            fds::keep(number.cast_unsigned()).map_err(|source| Error::system("keep a descriptor", source))?;
        }
        let text = |text: Vec<u8>| {
            CString::new(text).map_err(|source| Error::system(deed(), io::Error::from(source)))
        };
        let args = [b"criu".to_vec(), b"swrk".to_vec(), socket.to_string().into_bytes()];
        let args: Vec<CString> = args.into_iter().map(text).collect::<Result<_, _>>()?;
        let env: Vec<CString> = environment().into_iter().map(text).collect::<Result<_, _>>()?;
        Ok::<_, Error>((text(program.as_os_str().as_bytes().to_vec())?, args, env))
    })();
    match ready {
        Err(error) => error,
        Ok((program, args, env)) => match nix::unistd::execve(&program, &args, &env) {
            Ok(never) => match never {},
            Err(errno) => Error::system(deed(), errno),
        },
    }
}

/// Ours, with a PATH: CRIU starts tar, ip and nft.
fn environment() -> Vec<Vec<u8>> {
    let mut env: Vec<Vec<u8>> = std::env::vars_os()
        .map(|(name, value)| [name.into_vec(), b"=".to_vec(), value.into_vec()].concat())
        .collect();
    if !env.iter().any(|entry| entry.starts_with(b"PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}").into_bytes());
    }
    env
}

/// Of CRIU itself: 31704 is 3.17.4.
pub(super) fn version(ignored_signals: u64) -> Result<i32, Error> {
    let answer = alone(Deed::Version, ignored_signals)?;
    answer
        .version
        .ok_or_else(|| Error::new(Kind::System, "CRIU version check failed: no version in its answer"))
}

/// What CRIU and the kernel can do together.
pub(super) fn features(ignored_signals: u64) -> Result<Features, Error> {
    Ok(alone(Deed::FeatureCheck, ignored_signals)?.features)
}

fn alone(deed: Deed, ignored_signals: u64) -> Result<Answer, Error> {
    let setting = Setting {
        birth: Birth::default(),
        streams: Streams::Null,
        keep: Vec::new(),
        ignored_signals,
        orphan: Orphan::Dies,
    };
    let service = Service::start(&setting, || Ok(()))?;
    let answer = service.ask((deed, None), &mut |_, _| Ok(None));
    service.end()?;
    answer
}
