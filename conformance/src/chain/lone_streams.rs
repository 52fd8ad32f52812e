//! Streams whose other end does what it likes: terminals that are let go, fifos that nobody opens, disks that are full.

use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::containerd::PATIENCE;
use super::lone::{Lone, NEEDS, refusal, says, shim};
use super::ttrpc::{Message, number};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/shim-terminal-opened-again",
        source: "containerd/console: the other end of a terminal may come back",
        needs: NEEDS,
        run: opened_again,
    },
    Case {
        name: "chain/shim-terminal-hung-up",
        source: "containerd's runc shim: the end of its input shuts a console",
        needs: NEEDS,
        run: hung_up,
    },
    Case {
        name: "chain/shim-fifo-never-opened",
        source: "containerd's runc shim: opening the streams takes 30 seconds at most",
        needs: NEEDS,
        run: never_opened,
    },
    Case {
        name: "chain/shim-log-file-is-a-fifo",
        source: "no call holds up another",
        needs: NEEDS,
        run: file_is_a_fifo,
    },
    Case {
        name: "chain/shim-late-reader-without-inotify",
        source: "inotify(7): max_user_instances",
        needs: &[Need::Root, Need::UserNamespaces, Need::Program("unshare")],
        run: without_inotify,
    },
    Case {
        name: "chain/shim-log-file-is-full",
        source: "write(2): ENOSPC is not the container's",
        needs: NEEDS,
        run: full,
    },
    Case {
        name: "chain/shim-stubborn-log-program",
        source: "containerd's runc shim: a logging program that ignores SIGTERM is killed",
        needs: NEEDS,
        run: stubborn,
    },
];

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of the case's is text")
}

fn reader(fifo: &Path) -> Result<std::fs::File> {
    Ok(std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifo)?)
}

/// Waits for the process and deletes it.
fn code(shim: &mut Lone, process: &Message) -> Result<u64> {
    let code = number(&shim.client.call("Wait", process)?, 1);
    shim.client.call("Delete", process)?;
    Ok(code)
}

/// Systemd and getty close their console and open it again.
fn opened_again(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "first", ",", "reopen", "second", ",", "exit", "3"])?;
    bundle.set("/process/terminal", true.into())?;
    let mut shim = Lone::start_by(ctx, bundle, Command::new(shim(ctx)))?;
    let fifo = shim.fifo("shown")?;
    let mut shown = reader(&fifo)?;
    let creation = shim.creation()?.set(4).with(6, text(&fifo)?);
    shim.run(&creation)?;
    let init = shim.init();
    let code = number(&shim.client.call("Wait", &init)?, 1);
    shim.client.send("Delete", &init)?;
    let mut said = String::new();
    process::until("the output is at its end", PATIENCE, || {
        let mut piece = [0; 512];
        if let Ok(count) = shown.read(&mut piece) {
            said.push_str(&String::from_utf8_lossy(piece.get(..count).unwrap_or_default()));
        }
        shim.client.is_answered(Duration::ZERO)
    })?;
    shim.client.answer()?;
    ensure!((code, said.as_str()) == (3, "first\r\nsecond\r\n"), "{said:?}, code {code}");
    shim.stop()
}

fn hung_up(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    let (typed, shown) = (shim.fifo("typed")?, shim.fifo("shown")?);
    let _shown = reader(&shown)?;
    let (input, output) = (text(&typed)?.to_owned(), text(&shown)?.to_owned());
    shim.add("e", &["stop"], |r| r.set(3).with(4, input).with(5, output))?;
    let process = shim.process("e");
    let writer = std::fs::File::options().read(true).write(true).open(&typed)?;
    shim.client.call("Start", &process)?;
    shim.client.call("CloseIO", &process.clone().set(3))?;
    drop(writer);
    let code = code(&mut shim, &process)?;
    ensure!(code == 128 + 1, "it ended with {code}");
    shim.end()
}

/// A client that died between making a fifo and opening it.
fn never_opened(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    let fifo = shim.fifo("output")?;
    let place = text(&fifo)?.to_owned();
    shim.add("e", &["stop"], |request| request.with(5, place))?;
    let process = shim.process("e");
    // Not the thirty seconds: what the client says itself is less.
    shim.client.send_bounded("Start", &process, Duration::from_secs(1))?;
    ensure!(shim.client.is_answered(Duration::from_secs(20))?, "it waits for ever");
    says(&refusal(shim.client.answer())?, "wait for a reader of ")?;
    shim.client.call("Delete", &process)?;
    shim.end()
}

fn file_is_a_fifo(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    let fifo = shim.fifo("log")?;
    let uri = format!("file://{}", fifo.display());
    shim.add("e", &["print", "said"], |request| request.with(5, uri))?;
    let process = shim.process("e");
    shim.client.send("Start", &process)?;
    let mut other = shim.connect()?;
    let init = shim.init();
    other.send("State", &init)?;
    ensure!(other.is_answered(Duration::from_secs(20))?, "every call hangs");
    other.answer()?;
    let mut log = reader(&fifo)?;
    shim.client.answer()?;
    shim.client.call("Wait", &process)?;
    let mut said = String::new();
    process::until("it is logged", PATIENCE, || {
        let mut piece = [0; 512];
        if let Ok(count) = log.read(&mut piece) {
            said.push_str(&String::from_utf8_lossy(piece.get(..count).unwrap_or_default()));
        }
        Ok(said == "said\n")
    })?;
    shim.client.call("Delete", &process)?;
    shim.end()
}

fn without_inotify(ctx: &Ctx) -> Result<()> {
    let mut command = Command::new("unshare");
    let none = "echo 0 >/proc/sys/user/max_inotify_instances; exec \"$@\"";
    command.args(["--user", "--map-root-user", "sh", "-euc", none, "sh"]).arg(shim(ctx));
    let mut shim = Lone::start_by(ctx, ctx.bundle(&["stop"])?, command)?;
    let fifo = shim.fifo("output")?;
    let creation = shim.creation()?.with(6, text(&fifo)?);
    shim.client.send("Create", &creation)?;
    ensure!(!shim.client.is_answered(Duration::from_secs(1))?, "{:?}", shim.client.answer());
    let _reader = reader(&fifo)?;
    // What the runtime makes of this namespace is not asked.
    if let Err(error) = shim.client.answer() {
        says(&format!("{error:#}"), "OCI runtime create failed: ")?;
        ensure!(!format!("{error:#}").contains("reader"), "{error:#}");
        return shim.stop();
    }
    shim.end()
}

fn full(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    // More than a pipe holds, so that the program is still at it when the first write has failed.
    shim.add("e", &["count", "20000", ",", "exit", "7"], |request| request.with(5, "file:///dev/full"))?;
    let process = shim.process("e");
    shim.client.call("Start", &process)?;
    let code = code(&mut shim, &process)?;
    ensure!(code == 7, "it ended with {code}");
    shim.end()
}

fn stubborn(ctx: &Ctx) -> Result<()> {
    let mut shim = Lone::start(ctx, &["stop"])?;
    let creation = shim.creation()?;
    shim.run(&creation)?;
    let program = ctx.path("stubborn");
    let lines =
        "#!/bin/sh\ntrap '' TERM\nexec 5>&-\necho \"$CONTAINER_ID $HOME\" >\"$0.who\"\nexec sleep 86413\n";
    std::fs::write(&program, lines)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let uri = format!("binary://{}", program.display());
    shim.add("e", &["exit", "4"], |request| request.with(5, uri))?;
    let process = shim.process("e");
    shim.client.call("Start", &process)?;
    ensure!(code(&mut shim, &process)? == 4, "it ended with another code");
    let mark = program.display().to_string();
    let is_it = |line: &String| line.contains(&mark) || line.contains("sleep 86413");
    process::until("the logging program has ended", Duration::from_secs(20), || {
        Ok(!crate::worker::described_descendants().iter().any(is_it))
    })?;
    // Whose output it is, and nothing of containerd's environment.
    let who = std::fs::read_to_string(format!("{mark}.who"))?;
    ensure!(who == "e \n", "{who:?}");
    shim.end()
}
