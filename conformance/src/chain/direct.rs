//! The task service as another client than ctr may call it: a reader that is still at work when the process is deleted, and Update,
//! for which ctr has no verb.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::containerd::PATIENCE;
use super::engine::{Engine, NEEDS, put_away, shim_of, under};
use super::streams::check_so_many_lines;
use super::ttrpc::{Client, Message};
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/shim-slow-reader-after-delete",
        source: "issue 6: no output lost at exit",
        needs: NEEDS,
        run: slow_reader,
    },
    Case {
        name: "chain/shim-late-reader",
        source: "issue 6: no output lost at exit",
        needs: NEEDS,
        run: late_reader,
    },
    Case {
        name: "chain/shim-update",
        source: "Task.Update",
        needs: &[
            Need::Root,
            Need::Controller("cpu"),
            Need::Controller("memory"),
            Need::Controller("pids"),
            Need::Program("containerd"),
            Need::Program("ctr"),
        ],
        run: update,
    },
];

/// A connection to the shim of the only container.
fn connect(engine: &Engine) -> Result<Client> {
    let bundles = engine.ctx.path("containerd/state/io.containerd.runtime.v2.task/default");
    let file = bundles.join(&engine.id).join("address");
    Client::connect(&std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?)
}

/// More than a fifo holds, so that the end is still in the program's own pipe when the program has ended; and less than both.
const LINES: u32 = 15_000;

fn slow_reader(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        engine.run(&["--detach"], &[&engine.id, "/probe", "stop"])?.success()?;
        let text = output_of_an_exec(&engine)?;
        check_so_many_lines(LINES, text.as_slice())?;
        engine.task(&["kill", "--signal", "KILL", &engine.id])?.success()?;
        put_away(&engine, 137)?;
        Ok(engine.containerd)
    })
}

/// An exec on a fifo that nobody has opened.
struct Exec {
    client: Client,
    key: Message,
    fifo: PathBuf,
}

impl Exec {
    /// It writes `lines` lines, on a terminal or not.
    fn add(engine: &Engine, lines: u32, terminal: bool) -> Result<Exec> {
        let fifo = engine.ctx.path(if terminal { "shown" } else { "output" });
        mkfifo(&fifo, Mode::from_bits_truncate(0o600))?;
        let process = json!({"args": ["/probe", "count", lines.to_string()], "cwd": "/", "env": ["PATH=/"],
            "user": {"uid": 0, "gid": 0}, "terminal": terminal});
        let spec =
            Message::any("types.containerd.io/opencontainers/runtime-spec/1/Process", &process.to_string());
        let key = Message::default().with(1, &engine.id).with(2, if terminal { "t" } else { "e" });
        let mut request = key.clone().with(5, path(&fifo)?).with(7, spec);
        if terminal {
            request = request.set(3);
        }
        let mut client = connect(engine)?;
        client.call("Exec", &request)?;
        Ok(Exec { client, key, fifo })
    }

    /// Whether that process has the fifo open no more.
    fn is_closed(&self, pid: u32) -> Result<bool> {
        let mut open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
        Ok(!open.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|file| file == self.fifo)))
    }

    fn reader(&self) -> Result<File> {
        Ok(File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.fifo)?)
    }
}

/// A client opens its end in a thread of its own, whose turn may come only when a short process would have ended.
fn late_reader(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        engine.run(&["--detach"], &[&engine.id, "/probe", "stop"])?.success()?;
        let shim = shim_of(&engine)?;
        for (terminal, wanted) in [(false, "0000000\n"), (true, "0000000\r\n")] {
            let mut exec = Exec::add(&engine, 1, terminal)?;
            exec.client.send("Start", &exec.key)?;
            // That nothing happens has no event: a shim that does not wait has started it within this time, and is soon done with it.
            let is_early = exec.client.is_answered(Duration::from_secs(1))?;
            if is_early {
                process::until("the shim has closed the fifo", PATIENCE, || exec.is_closed(shim))?;
            }
            let mut output = exec.reader()?;
            exec.client.answer()?;
            exec.client.call("Wait", &exec.key)?;
            exec.client.send("Delete", &exec.key)?;
            // A client whose thread has not run since it opened the fifo gives it up when the process is deleted.
            let is_early = exec.client.is_answered(Duration::from_secs(1))?;
            ensure!(!is_early, "deleted before its output was read, with a terminal: {terminal}");
            let mut text = String::new();
            output.read_to_string(&mut text)?;
            ensure!(text == wanted, "{text:?} arrived, with a terminal: {terminal}");
            exec.client.answer()?;
        }
        engine.task(&["kill", "--signal", "KILL", &engine.id])?.success()?;
        put_away(&engine, 137)?;
        Ok(engine.containerd)
    })
}

fn output_of_an_exec(engine: &Engine) -> Result<Vec<u8>> {
    let exec = Exec::add(engine, LINES, false)?;
    let mut output = exec.reader()?;
    let Exec { mut client, key, .. } = exec;
    client.call("Start", &key)?;
    client.call("Wait", &key)?;
    client.send("Delete", &key)?;
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    // A little whenever the deletion is found waiting for more.
    while !client.is_answered(Duration::from_millis(200))? {
        let count = output.read(&mut piece).context("read while the deletion waits")?;
        text.extend(piece.iter().take(count));
    }
    client.answer()?;
    output.read_to_end(&mut text)?;
    Ok(text)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path of the case's is UTF-8")
}

fn update(ctx: &Ctx) -> Result<()> {
    under(ctx, |engine| {
        let flags = ["--detach", "--memory-limit", "67108864"];
        engine.run(&flags, &[&engine.id, "/probe", "stop"])?.success()?;
        let mut client = connect(&engine)?;
        let request = |id: &str, resources: &serde_json::Value| {
            let type_url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
            Message::default().with(1, id).with(2, Message::any(type_url, &resources.to_string()))
        };
        let limits = json!({"memory": {"limit": 50_331_648}, "pids": {"limit": 33}});
        client.call("Update", &request(&engine.id, &limits))?;
        ensure!(limits_of(&engine)? == ["50331648\n", "33\n"], "{:?}", limits_of(&engine)?);
        let refused = client.call("Update", &request(&engine.id, &json!({"memory": {"limit": "much"}})));
        let text = format!("{:#}", refused.err().context("a limit that is no number was taken")?);
        ensure!(text.contains("/memory/limit"), "{text}");
        ensure!(limits_of(&engine)? == ["50331648\n", "33\n"], "{:?}", limits_of(&engine)?);
        let missing = client.call("Update", &request("nobody", &limits));
        let text = format!("{:#}", missing.err().context("there is no such container")?);
        ensure!(text.contains("container nobody: there is no such container in this shim"), "{text}");
        engine.task(&["kill", "--signal", "KILL", &engine.id])?.success()?;
        put_away(&engine, 137)?;
        Ok(engine.containerd)
    })
}

/// The limits of memory and of processes of the only task, as the kernel has them.
fn limits_of(engine: &Engine) -> Result<[String; 2]> {
    let pid = super::streams::program(engine)?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let file = |controller: &str, v2: &str, v1: &str| -> Result<String> {
        let (mark, top, name) = match engine.ctx.host.pure_v2 {
            true => ("0::".to_owned(), "/sys/fs/cgroup".to_owned(), v2),
            false => (format!(":{controller}:"), format!("/sys/fs/cgroup/{controller}"), v1),
        };
        let group = groups.lines().find_map(|line| line.split_once(&mark)).context("find its cgroup")?.1;
        Ok(std::fs::read_to_string(format!("{top}{group}/{name}"))?)
    };
    Ok([file("memory", "memory.max", "memory.limit_in_bytes")?, file("pids", "pids.max", "pids.max")?])
}
