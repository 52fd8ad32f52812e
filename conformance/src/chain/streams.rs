//! What a shim does with output: all of it arrives, a slow reader costs no memory, terminals change their size, and logging
//! programs get what they are promised.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::containerd::{IMAGE, PATIENCE};
use super::engine::{Engine, NEEDS, put_away, shim_of, under};
use super::many::memory;
use crate::case::{Case, Ctx};
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/ctr-output-whole",
        source: "issue 6: no output lost at exit",
        needs: NEEDS,
        run: whole,
    },
    Case {
        name: "chain/ctr-slow-reader",
        source: "issue 6: backpressure without unbounded memory",
        needs: NEEDS,
        run: slow_reader,
    },
    Case { name: "chain/ctr-terminal-resized", source: "Task.ResizePty", needs: NEEDS, run: terminal },
    Case {
        name: "chain/ctr-log-program",
        source: "containerd/core/runtime/v2: logging",
        needs: NEEDS,
        run: logger,
    },
    Case {
        name: "chain/ctr-log-program-fails",
        source: "containerd/core/runtime/v2: logging",
        needs: NEEDS,
        run: failing_logger,
    },
];

/// Lines of eight bytes of the cases with much output.
const LINES: u32 = 2_000_000;

/// Checks that `text` is every line of `count`, once and in order.
fn check_lines(ctx: &Ctx, text: impl BufRead) -> Result<()> {
    check_so_many_lines(ctx.host.scaled(LINES), text)
}

pub(super) fn check_so_many_lines(wanted: u32, text: impl BufRead) -> Result<()> {
    let mut expected = 0_u32;
    for line in text.lines() {
        let line = line?;
        ensure!(line == format!("{expected:07}"), "{line:?} instead of line {expected}");
        expected += 1;
    }
    ensure!(expected == wanted, "{expected} of {wanted} lines");
    Ok(())
}

fn lines(ctx: &Ctx) -> String {
    ctx.host.scaled(LINES).to_string()
}

/// A program that writes and is gone: what it wrote is in pipes and fifos when its exit is seen.
fn whole(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let ended = engine
            .run(&["--rm"], &[&engine.id, "/probe", "count", &lines(engine.ctx), ",", "exit", "4"])?
            .code(4)?;
        check_lines(engine.ctx, ended.out.as_bytes())?;
        let log = engine.ctx.path("log");
        let uri = format!("file://{}", log.display());
        let flags = ["--detach", "--log-uri", uri.as_str()];
        engine
            .run(&flags, &[&engine.id, "/probe", "count", &lines(engine.ctx), ",", "exit", "5"])?
            .success()?;
        put_away(&engine, 5)?;
        check_lines(engine.ctx, BufReader::new(std::fs::File::open(&log)?))?;
        Ok(engine.containerd)
    })
}

fn slow_reader(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let fixed = ["run", "--rm", "--runtime", "io.containerd.coracle.v2", IMAGE, &engine.id];
        let lines = lines(engine.ctx);
        let mut command = engine.containerd.command(&[&fixed[..], &["/probe", "count", &lines]].concat())?;
        let mut client = process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut output = BufReader::new(client.stdout.take().context("take the output")?);
        ensure!(!output.fill_buf()?.is_empty(), "no output");
        let shim = shim_of(&engine)?;
        let program = program(&engine)?;
        // Every pipe on the way is full when the program is found stuck in its write again and again.
        let mut stuck = 0;
        process::until("the program waits for its reader", PATIENCE, || {
            let waits_in = std::fs::read_to_string(format!("/proc/{program}/wchan"))?;
            stuck = if waits_in.contains("pipe_write") { stuck + 1 } else { 0 };
            Ok(stuck == 20)
        })?;
        let before = memory(shim, "VmHWM")?;
        // At once, and looked at later: ctr closes its side soon after the program's end, read or not.
        let mut text = Vec::new();
        output.read_to_end(&mut text)?;
        client.wait()?;
        check_lines(engine.ctx, text.as_slice())?;
        ensure!(before <= 8 * 1024, "the shim held {before} KiB for a reader that did not read");
        Ok(engine.containerd)
    })
}

/// The host's number of the only task's process.
pub(super) fn program(engine: &Engine) -> Result<u32> {
    let listed = engine.task(&["ls"])?.success()?.out;
    let line = listed.lines().find(|line| line.starts_with(&engine.id)).context("find the task")?;
    Ok(line.split_whitespace().nth(1).context("find its process id")?.parse()?)
}

/// A client on a terminal of 40 rows; what it shows is what the container's program writes on its own terminal.
fn terminal(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let fixed = ["run", "--rm", "--tty", "--runtime", "io.containerd.coracle.v2", IMAGE, &engine.id];
        let deeds = ["/probe", "size", "40", "100", ",", "size", "41", "101", ",", "exit", "6"];
        let pty = nix::pty::openpty(Some(&size(40, 100)), None)?;
        let slave = std::fs::File::from(pty.slave);
        let mut command = engine.containerd.command(&[&fixed[..], &deeds].concat())?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
        let mut client = process::spawn(&mut command)?;
        drop(command);
        let mut shown = BufReader::new(std::fs::File::from(pty.master.try_clone()?));
        let mut line = String::new();
        shown.read_line(&mut line)?;
        // Two terminals in a row may each have added a carriage return.
        ensure!(line.trim_end() == "size 40 100: ok", "{line:?}");
        // The client has no controlling terminal, so nobody but us tells it.
        crate::sys::resize(pty.master.as_fd(), &size(41, 101))?;
        // ctr begins to listen a moment after it has passed the first size on, and nothing shows when: a signal before is lost.
        let pid = nix::unistd::Pid::from_raw(client.id().cast_signed());
        process::until("the second size is answered", PATIENCE, || {
            nix::sys::signal::kill(pid, Signal::SIGWINCH)?;
            process::readable(pty.master.as_fd(), Duration::from_millis(200))
        })?;
        line.clear();
        shown.read_line(&mut line)?;
        ensure!(line.trim_end() == "size 41 101: ok", "{line:?}");
        ensure!(client.wait()?.code() == Some(6), "another exit code than 6");
        drop(slave);
        Ok(engine.containerd)
    })
}

fn size(rows: u16, columns: u16) -> nix::pty::Winsize {
    nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Writes a logging program of `text` and gives its path.
fn script(ctx: &Ctx, name: &str, text: &str) -> Result<String> {
    let path = ctx.path(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}

fn logger(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let (ctx, id) = (engine.ctx, engine.id.as_str());
        let keep = "cat <&3 >\"$1.out\" & cat <&4 >\"$1.err\"; wait; echo \"$CONTAINER_NAMESPACE $CONTAINER_ID\" >\"$1.who\"";
        for (scheme, ready) in [("binary", "exec 5>&-"), ("binary-v2", "printf 1 >&5; exec 5>&-")] {
            let path = script(ctx, scheme, &format!("{ready}\n{keep}"))?;
            let place = ctx.path(format!("kept by {scheme}")).display().to_string();
            let uri = format!("{scheme}://{path}?{}", place.replace(' ', "%20"));
            let deeds =
                ["/probe", "err", "error", ",", "count", &lines(ctx), ",", "exit", "8"].map(str::to_owned);
            let deeds: Vec<&str> = std::iter::once(id).chain(deeds.iter().map(String::as_str)).collect();
            engine.run(&["--detach", "--log-uri", &uri], &deeds)?.success()?;
            put_away(&engine, 8)?;
            let kept = |suffix: &str| std::fs::read_to_string(format!("{place}.{suffix}"));
            check_lines(ctx, kept("out")?.as_bytes()).with_context(|| scheme.to_owned())?;
            ensure!(kept("err")? == "error\n", "{scheme}: {:?}", kept("err")?);
            ensure!(kept("who")? == format!("default {id}\n"), "{scheme}: {:?}", kept("who")?);
        }
        Ok(engine.containerd)
    })
}

fn failing_logger(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let path = script(engine.ctx, "fails", "exit 1")?;
        let uri = format!("binary-v2://{path}");
        let said = "wait for the logging program: it ended before it was ready";
        engine
            .run(&["--detach", "--log-uri", &uri], &[&engine.id, "/probe", "stop"])?
            .failure()?
            .says(said)?;
        engine.containerd.ctr(&["container", "delete", &engine.id])?.success()?;
        ensure!(engine.status()? == "NONE", "the task is {}", engine.status()?);
        Ok(engine.containerd)
    })
}
