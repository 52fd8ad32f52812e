//! A shell in the container of a RUN that failed, as its process had it.

use std::fs::File;
use std::path::Path;

use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};

use super::Hands;
use super::memory::Memory;
use crate::bundle::{self, Container, Exit, Stdio};
use crate::error::{Error, Kind};

/// What a program is told of a terminal that nobody has described.
const TERM: &str = "xterm";

/// Runs `shell` on `terminal` in the place of the container's process, until it ends.
pub(super) fn open(
    (shell, container): (&str, &Container),
    directory: &Path,
    terminal: &File,
    hands: &Hands<'_>,
) -> Result<(), Error> {
    let id = bundle::new_id()?;
    let mut container = Container {
        args: vec![shell.to_owned()],
        terminal: true,
        cgroup: bundle::cgroup_of(&id),
        ..container.clone()
    };
    if !container.env.iter().any(|pair| pair.starts_with("TERM=")) {
        container.env.push(format!("TERM={}", std::env::var("TERM").unwrap_or_else(|_| TERM.to_owned())));
    }
    let memory = Memory::at(directory.join("shell"))
        .map_err(|error| Error::system("make a bundle in memory", error))?;
    bundle::write(memory.path(), &container)?;
    let runtime = hands.runtime()?.with_state(&memory.path().join("state"));
    let share = |error| Error::system("share the terminal", error);
    let settings = tcgetattr(terminal).map_err(|errno| share(errno.into()))?;
    let stdio = Stdio::Terminal(terminal.try_clone().map_err(share)?);
    let mut child = runtime.start(memory.path(), &id, stdio)?;
    let watched = hands.interrupt.attend(child.id());
    let exit = runtime.wait(&mut child, memory.path());
    // A runtime that was killed has not put them back, and its container may live.
    let _ = tcsetattr(terminal, SetArg::TCSANOW, &settings);
    let removed = runtime.delete(&id);
    hands.interrupt.leave();
    removed.and(watched)?;
    match exit? {
        Exit::Code(_) => Ok(()),
        Exit::NotStarted(words) => Err(Error::new(Kind::System, format!("run {shell}: {words}"))),
    }
}
