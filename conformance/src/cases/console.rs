//! Terminals: the console socket, the pty's settings, foreground terminals, exec's own.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::case::{BOUND, Case, Ctx};
use crate::process::Running;
use crate::{process, sys};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "console/socket-gets-the-master",
        source: "runc create --console-socket",
        needs: &[],
        run: socket,
    },
    Case {
        name: "console/no-carriage-returns",
        source: "facts/runtime-compat: ONLCR is cleared on the master (crun)",
        needs: &[],
        run: onlcr,
    },
    Case {
        name: "console/size",
        source: "runtime-spec config.md#process: consoleSize",
        needs: &[],
        run: size,
    },
    Case {
        name: "console/dev-console-is-the-pty",
        source: "runtime-spec config-linux.md#default-devices",
        needs: &[],
        run: dev_console,
    },
    Case {
        name: "console/detached-without-a-socket-is-an-error",
        source: "runc: cannot allocate tty if runc will detach without setting console socket",
        needs: &[],
        run: no_socket,
    },
    Case {
        name: "console/socket-without-a-terminal-is-an-error",
        source: "runc: cannot use console socket if runc will not detach or allocate tty",
        needs: &[],
        run: no_terminal,
    },
    Case { name: "console/foreground-on-a-terminal", source: "runc run", needs: &[], run: foreground },
    Case {
        name: "console/exec-with-a-socket",
        source: "runc exec --tty --console-socket",
        needs: &[],
        run: exec,
    },
    Case {
        name: "console/exec-tty-without-a-terminal-on-stdin",
        source: "facts/runtime-compat: works (crun, youki)",
        needs: &[],
        run: exec_piped,
    },
];

fn terminal_bundle(ctx: &Ctx, words: &[&str]) -> Result<Bundle> {
    let bundle = ctx.bundle(words)?;
    bundle.set("/process/terminal", json!(true))?;
    Ok(bundle)
}

/// Runs `runtime ARGS... --console-socket S ID WORDS...`, and gives the descriptor that arrives.
pub(super) fn master(ctx: &Ctx, before: &[&str], after: &[&str]) -> Result<OwnedFd> {
    master_within(ctx, before, after, BOUND)
}

/// The same, with a bound for all of it.
pub(super) fn master_within(ctx: &Ctx, before: &[&str], after: &[&str], bound: Duration) -> Result<OwnedFd> {
    // A socket's path has at most 107 bytes: the case's directory may be long.
    let short = tempfile::Builder::new().prefix("cc.").tempdir_in("/tmp")?;
    let path = short.path().join("s");
    let listener = UnixListener::bind(&path)?;
    let path = path.to_string_lossy().into_owned();
    let mut running = ctx.rt_start(&[before, &["--console-socket", &path], after].concat())?;
    if !connects(&listener, &mut running, bound)? {
        let ended = running.end(bound)?;
        bail!("{}", ended.unexpected("nobody connects to the console socket"));
    }
    let (stream, _) = listener.accept()?;
    ensure!(process::readable(stream.as_fd(), bound)?, "nothing arrives on the console socket");
    let master = sys::receive_descriptor(stream.as_fd())?;
    running.end(bound)?.success()?;
    Ok(master)
}

/// Whether somebody connects before the runtime ends or the time is over.
pub(super) fn connects(listener: &UnixListener, running: &mut Running, bound: Duration) -> Result<bool> {
    let deadline = std::time::Instant::now() + bound;
    while std::time::Instant::now() < deadline {
        if process::readable(listener.as_fd(), Duration::from_millis(200))? {
            return Ok(true);
        }
        if running.ends_within(Duration::ZERO)?.is_some() {
            // It may have connected as the last thing that it did.
            return process::readable(listener.as_fd(), Duration::ZERO);
        }
    }
    Ok(false)
}

/// Everything that comes from a pty until its other side is closed.
fn read_all(master: OwnedFd) -> Result<String> {
    let mut file = std::fs::File::from(master);
    let mut text = Vec::new();
    let mut part = [0_u8; 4096];
    while process::readable(file.as_fd(), BOUND)? {
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(count) => text.extend(part.iter().take(count)),
            // EIO: the last one closed the slave.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// create with a console socket, start, and what comes out of the pty.
fn through_socket(ctx: &Ctx, bundle: &Bundle) -> Result<String> {
    let id = ctx.id("c");
    let master = master(ctx, &["create", "--bundle", bundle.path()?], &[&id])?;
    ctx.rt(&["start", &id])?.success()?;
    read_all(master)
}

fn shown(text: &str) -> Result<Value> {
    serde_json::from_str(text.trim()).with_context(|| format!("read what the probe showed: {text:?}"))
}

fn socket(ctx: &Ctx) -> Result<()> {
    let seen = shown(&through_socket(ctx, &terminal_bundle(ctx, &["show"])?)?)?;
    ensure!(seen["tty"].is_object(), "no terminal inside");
    ensure!(seen["sid"] == 1, "not a session leader: {}", seen["sid"]);
    Ok(())
}

/// One translation of line ends, by the caller's terminal: with two of them there would be two carriage returns.
fn onlcr(ctx: &Ctx) -> Result<()> {
    let (code, text) = on_terminal(ctx, &["print", "one", ",", "print", "two"])?;
    ensure!(code == Some(0) && text == "one\r\ntwo\r\n", "{code:?} {text:?}");
    Ok(())
}

fn size(ctx: &Ctx) -> Result<()> {
    let bundle = terminal_bundle(ctx, &["show"])?;
    bundle.set("/process/consoleSize", json!({"height": 33, "width": 111}))?;
    let seen = shown(&through_socket(ctx, &bundle)?)?;
    ensure!(seen["tty"]["rows"] == 33 && seen["tty"]["columns"] == 111, "{}", seen["tty"]);
    Ok(())
}

fn dev_console(ctx: &Ctx) -> Result<()> {
    let seen = shown(&through_socket(ctx, &terminal_bundle(ctx, &["show"])?)?)?;
    ensure!(seen["tty"]["console"] == true, "/dev/console is no character device: {}", seen["tty"]);
    ensure!(seen["tty"]["console_rdev"] == seen["tty"]["stdin_rdev"], "another device: {}", seen["tty"]);
    Ok(())
}

fn no_socket(ctx: &Ctx) -> Result<()> {
    let bundle = terminal_bundle(ctx, &["exit", "0"])?;
    ctx.rt(&["create", "--bundle", bundle.path()?, &ctx.id("c")])?.failure()?.says("console socket")?;
    Ok(())
}

fn no_terminal(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let path = ctx.path("s").to_string_lossy().into_owned();
    ctx.rt(&["create", "--bundle", bundle.path()?, "--console-socket", &path, &ctx.id("c")])?
        .failure()?
        .says("console socket")?;
    Ok(())
}

/// `run` as from a shell on a terminal of 44 rows: setsid gives it the slave as its controlling terminal.
fn on_terminal(ctx: &Ctx, words: &[&str]) -> Result<(Option<i32>, String)> {
    let bundle = terminal_bundle(ctx, words)?;
    let size = nix::pty::Winsize { ws_row: 44, ws_col: 123, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None)?;
    let inner = ctx.runtime();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
    command.args(["run", "--bundle", bundle.path()?, &ctx.id("c")]);
    let slave = std::fs::File::from(pty.slave);
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    let mut child = process::spawn(&mut command)?;
    drop(command);
    let text = read_all(pty.master)?;
    Ok((child.wait()?.code(), text))
}

fn foreground(ctx: &Ctx) -> Result<()> {
    let (code, text) = on_terminal(ctx, &["show", ",", "exit", "5"])?;
    ensure!(code == Some(5), "exit code {code:?}: {text:?}");
    let seen = shown(&text)?;
    ensure!(seen["tty"].is_object(), "no terminal inside: {seen}");
    Ok(())
}

fn exec(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let master = master(ctx, &["exec", "--tty", "--detach"], &[&id, "/probe", "show"])?;
    let seen = shown(&read_all(master)?)?;
    ensure!(seen["tty"].is_object(), "no terminal inside");
    Ok(())
}

fn exec_piped(ctx: &Ctx) -> Result<()> {
    let id = ctx.waiting("c")?;
    let ended = process::start(ctx.runtime().args(["exec", "--tty", &id, "/probe", "show"]), Stdio::null())?
        .end(BOUND)?
        .success()?;
    ensure!(shown(&ended.out)?["tty"].is_object(), "no terminal inside");
    Ok(())
}
