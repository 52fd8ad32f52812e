//! SCMP_ACT_NOTIFY with an agent that lives: what it is told, and that its answers are the calls' results.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::console::connects;
use super::seccomp::{MKDIR, filter};
use crate::bundle::{Bundle, put};
use crate::case::{BOUND, Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Ended, Running};
use crate::sys::{self, notify};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "seccomp/notify-asks-the-agent",
        source: "runtime-spec config-linux.md#seccomp: listenerPath, listenerMetadata, the container process state",
        needs: &[],
        run,
    },
    Case {
        name: "seccomp/notify-asks-the-agent-for-exec-too",
        source: "runtime-spec config-linux.md#seccomp: the container process state; runc exec",
        needs: &[],
        run: exec,
    },
    Case {
        name: "seccomp/notify-of-what-the-runtime-itself-calls",
        source: "bypass4netns' profile; runc takes the listener by pidfd_getfd, for run and exec",
        needs: &[Need::Root],
        run: own_calls,
    },
];

/// What bypass4netns asks for.
const SOCKET_CALLS: [&str; 6] = ["bind", "close", "connect", "sendmsg", "sendto", "setsockopt"];

/// No call of the runtime or the probe fails with it by itself.
const ANSWER: i32 = libc::ENOMEDIUM;

/// An agent at a path that is short enough for a socket.
struct Agent {
    listener: UnixListener,
    dir: tempfile::TempDir,
}

impl Agent {
    fn start(bundle: &Bundle) -> Result<Self> {
        Self::of(bundle, &MKDIR)
    }

    /// One that is asked about these calls.
    fn of(bundle: &Bundle, calls: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("cc.").tempdir_in("/tmp")?;
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path)?;
        let mut profile = filter("SCMP_ACT_ALLOW", json!([{"names": calls, "action": "SCMP_ACT_NOTIFY"}]));
        put(&mut profile, "/listenerPath", json!(path));
        put(&mut profile, "/listenerMetadata", json!("words for the agent"));
        bundle.set("/linux/seccomp", profile)?;
        Ok(Self { listener, dir })
    }

    /// What the runtime says and hands over.
    fn told(&self, running: &mut Running) -> Result<(Value, OwnedFd)> {
        ensure!(
            connects(&self.listener, running, BOUND)?,
            "nobody connects to the agent: {}",
            running.errors_so_far()?
        );
        let (stream, _) = self.listener.accept()?;
        ensure!(process::readable(stream.as_fd(), BOUND)?, "nothing is said to the agent");
        let (text, listener) = sys::receive_message(stream.as_fd())?;
        let state = serde_json::from_slice(&text)
            .with_context(|| format!("read what the agent was told: {:?}", String::from_utf8_lossy(&text)))?;
        ensure!(self.dir.path().exists(), "the agent's directory is gone");
        Ok((state, listener))
    }
}

/// Answers the first call.
fn answer_one(listener: &OwnedFd) -> Result<()> {
    ensure!(process::readable(listener.as_fd(), BOUND)?, "no call waits for the agent");
    let call = notify::next(listener.as_fd()).context("take the call")?;
    ensure!(call.number == libc::SYS_mkdir || call.number == libc::SYS_mkdirat, "{call:?} came");
    notify::refuse(listener.as_fd(), call, ANSWER).context("answer the call")
}

fn is_told(told: &Value, (id, status): (&str, &str), bundle: &Bundle) -> Result<()> {
    ensure!(told["fds"] == json!(["seccompFd"]), "{told}");
    ensure!(told["metadata"] == "words for the agent", "{told}");
    ensure!(told["ociVersion"].is_string(), "{told}");
    let state = &told["state"];
    ensure!(state["id"] == id && state["status"] == status, "{told}");
    ensure!(state["bundle"] == bundle.path()?, "{told}");
    ensure!(told["pid"].as_i64().is_some_and(|pid| pid > 0) && state["pid"].is_i64(), "{told}");
    Ok(())
}

fn run(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/tmp/a", ",", "list", "/tmp"])?;
    let agent = Agent::start(&bundle)?;
    let id = ctx.id("c");
    let mut running = ctx.rt_start(&["run", "--bundle", bundle.path()?, &id])?;
    let (told, listener) = agent.told(&mut running)?;
    is_told(&told, (&id, "creating"), &bundle)?;
    ensure!(told["pid"] == told["state"]["pid"], "another process than init: {told}");
    answer_one(&listener)?;
    running.end(BOUND)?.success()?.out("mkdir /tmp/a: ENOMEDIUM\n\n").map(drop)
}

fn exec(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    let agent = Agent::start(&bundle)?;
    let id = ctx.id("c");
    let mut running = ctx.rt_start(&["run", "--detach", "--bundle", bundle.path()?, &id])?;
    let (_, _of_init) = agent.told(&mut running)?;
    running.end(BOUND)?.success()?;
    process::until("the container's program has started", BOUND, || {
        Ok(bundle.root().join("ready").exists())
    })?;
    let mut running = ctx.rt_start(&["exec", &id, "/bin/probe", "mkdir", "/tmp/b"])?;
    let (told, listener) = agent.told(&mut running)?;
    is_told(&told, (&id, "running"), &bundle)?;
    let init = ctx.pid(&id)?;
    ensure!(told["state"]["pid"] == init, "init is {init}: {told}");
    ensure!(told["pid"] != init, "init's number for another process: {told}");
    answer_one(&listener)?;
    running.end(BOUND)?.success()?.out("mkdir /tmp/b: ENOMEDIUM\n").map(drop)
}

/// Allows every call until the command has ended; how many there were.
fn allow_all(listener: &OwnedFd, mut running: Running) -> Result<(Ended, usize)> {
    let mut calls = 0;
    let deadline = Instant::now() + BOUND;
    while running.ends_within(Duration::ZERO)?.is_none() && Instant::now() < deadline {
        if process::readable(listener.as_fd(), Duration::from_millis(100))? {
            // Whoever was killed in it waits no more.
            if let Ok(call) = notify::next(listener.as_fd())
                && notify::allow(listener.as_fd(), call).is_ok()
            {
                calls += 1;
            }
        }
    }
    Ok((running.end(BOUND)?, calls))
}

fn own_calls(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["print", "begun"])?;
    let agent = Agent::of(&bundle, &SOCKET_CALLS)?;
    let mut running = ctx.rt_start(&["run", "--bundle", bundle.path()?, &ctx.id("run")])?;
    let (_, listener) = agent.told(&mut running)?;
    let (ended, calls) = allow_all(&listener, running)?;
    ended.success()?.out("begun\n")?;
    ensure!(calls > 0, "the agent was not asked about close");
    let bundle = ctx.bundle_named("exec", &["stop"])?;
    let agent = Agent::of(&bundle, &SOCKET_CALLS)?;
    let id = ctx.id("exec");
    let mut running = ctx.rt_start(&["run", "--detach", "--bundle", bundle.path()?, &id])?;
    let (_, listener) = agent.told(&mut running)?;
    allow_all(&listener, running)?.0.success()?;
    let mut running = ctx.rt_start(&["exec", &id, "/bin/probe", "print", "more"])?;
    let (_, listener) = agent.told(&mut running)?;
    allow_all(&listener, running)?.0.success()?.out("more\n").map(drop)
}
