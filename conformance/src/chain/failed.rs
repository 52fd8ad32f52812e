//! `build --on-failure shell`: a person at a terminal looks at what a failed step left.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::place::{PATIENCE, Place};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Running};
use crate::{assets, worker};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/build-shell-in-a-failed-step",
        source: "issue 5: a shell in the failed step",
        needs: NEEDS,
        run: shell,
    },
    Case {
        name: "chain/build-shell-ended-by-sigterm",
        source: "issue 5: a shell in the failed step",
        needs: NEEDS,
        run: ended,
    },
    Case {
        name: "chain/build-shell-without-a-terminal",
        source: "issue 5: a shell in the failed step",
        needs: NEEDS,
        run: no_terminal,
    },
];

/// setsid gives the builder a session whose terminal is its standard input, or none.
const NEEDS: &[Need] = &[Need::UserNamespaces, Need::Program("setsid")];

const FAILURE: &str = "Dockerfile line 7: run /bin/sh -c echo said; echo left >kept; exit 7: exit code 7";

/// The second stage would take for ever: the failure ends it before the shell begins.
const DOCKERFILE: &str = r#"FROM scratch AS tools
COPY busybox /bin/busybox
COPY busybox /bin/sh
FROM tools AS failing
ENV COLOUR=red PS1=ready>
WORKDIR /work
RUN --mount=type=secret,id=s echo said; echo left >kept; exit 7
FROM tools AS endless
RUN --network=none /bin/busybox sleep 1000000
FROM tools
COPY --from=failing /work /a
COPY --from=endless /bin /b
"#;

/// A build on a terminal of its own, with both outputs in files.
struct Session {
    running: Running,
    terminal: File,
    slave: File,
    shown: String,
}

fn context(ctx: &Ctx, place: &Place) -> Result<String> {
    let context = place.context("context", &[("Dockerfile", DOCKERFILE)])?;
    let busybox = format!("{context}/busybox");
    std::fs::copy(assets::get(&ctx.binaries, "busybox")?, &busybox)?;
    std::fs::set_permissions(busybox, std::fs::Permissions::from_mode(0o755))?;
    Ok(context)
}

fn builder(place: &Place, flags: &[&str], words: &[&str]) -> Command {
    let plain = place.builder(&[&["build", "--network", "none", "--on-failure", "shell"], words].concat());
    let mut command = Command::new("setsid");
    command.args(flags).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("SECRET", "word");
    command
}

impl Session {
    fn start(place: &Place, words: &[&str]) -> Result<Self> {
        let pty = nix::pty::openpty(None, None)?;
        let slave = File::from(pty.slave);
        let mut command = builder(place, &["--ctty", "--wait"], words);
        let running = process::start(&mut command, Stdio::from(slave.try_clone()?))?;
        Ok(Self { running, terminal: File::from(pty.master), slave, shown: String::new() })
    }

    /// Waits until the terminal shows `text`.
    fn until(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 4096];
        while !self.shown.contains(text) {
            ensure!(Instant::now() < deadline, "the terminal does not show {text}: {:?}", self.shown);
            if process::readable(self.terminal.as_fd(), Duration::from_millis(200))? {
                let count = self.terminal.read(&mut bytes)?;
                self.shown.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()));
            } else if let Some(code) = self.running.ends_within(Duration::ZERO)? {
                anyhow::bail!("the build ended with {code}: {}", self.running.errors_so_far()?);
            }
        }
        Ok(())
    }

    /// A shell that ends leaves the terminal as it was.
    fn is_as_before(&self) -> Result<()> {
        let flags = tcgetattr(&self.slave)?.local_flags;
        ensure!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO), "the terminal is left raw");
        Ok(())
    }
}

fn shell(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let context = context(ctx, &place)?;
    for (progress, failed) in [
        ("plain", "ERROR: run /bin/sh -c echo said; echo left >kept; exit 7: exit code 7\n"),
        ("json", r#"{"event":"failed","step":"#),
        ("quiet", "said\n"),
        ("tty", "\nsaid\n------\n"),
    ] {
        let words = ["--progress", progress, "--secret", "id=s,env=SECRET", &context];
        let mut session = Session::start(&place, &words)?;
        session.until("ready>")?;
        // What the step said stands above the shell, and nothing is written below it while it is open.
        let before = session.running.errors_so_far()?;
        ensure!(before.contains(failed), "{progress}: {failed:?} is not in {before:?}");
        let line =
            "echo \"$COLOUR $(/bin/busybox cat kept /run/secrets/s) $PWD $(/bin/busybox tty)\"; exit 3\n";
        session.terminal.write_all(line.as_bytes())?;
        session.until("red left\r\nword /work /dev/pts/0\r\n")?;
        let note =
            format!("builder: {FAILURE}\r\nbuilder: a shell as the step left it; the build ends with it\r\n");
        ensure!(session.shown.starts_with(&note), "{progress}: the terminal shows {:?}", session.shown);
        let code = session.running.ends_within(PATIENCE)?.context("the build did not end")?;
        let said = session.running.errors_so_far()?;
        ensure!(code == 1, "{progress}: it ended with {code}: {said}");
        ensure!(said.ends_with(&format!("builder: {FAILURE}\n")), "{progress}: it ends with {said:?}");
        ensure!(session.running.so_far()?.is_empty(), "{progress}: something is on standard output");
        session.is_as_before()?;
    }
    Ok(())
}

/// A signal ends the shell too, and the terminal is put back.
fn ended(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let context = context(ctx, &place)?;
    let words = ["--progress", "plain", "--secret", "id=s,env=SECRET", context.as_str()];
    let mut session = Session::start(&place, &words)?;
    session.until("ready>")?;
    let setsid = session.running.pid();
    let children = std::fs::read_to_string(format!("/proc/{setsid}/task/{setsid}/children"))?;
    let builder = nix::unistd::Pid::from_raw(children.trim().parse()?);
    nix::sys::signal::kill(builder, Signal::SIGTERM)?;
    let code = session.running.ends_within(PATIENCE)?.context("the build did not end")?;
    ensure!(code == 1, "it ended with {code}: {}", session.running.errors_so_far()?);
    session.is_as_before()?;
    let store = place.store.to_string_lossy().into_owned();
    process::until("every process has ended", PATIENCE, || {
        Ok(!worker::described_descendants().iter().any(|process| process.contains(&store)))
    })
}

fn no_terminal(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let context = context(ctx, &place)?;
    let said = "builder: open a terminal for --on-failure shell: no such device or address (build in a terminal, or leave it out)\n";
    let ended = process::run(&mut builder(&place, &["--wait"], &[&context]), PATIENCE)?.code(1)?;
    ensure!(ended.err == said, "it says {:?}", ended.err);
    ensure!(!place.store.exists(), "it began to build");
    Ok(())
}
