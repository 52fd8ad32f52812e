//! `NOTIFY_SOCKET`: what a service manager hears of a container whose program says that it is ready.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::bundle::Bundle;
use crate::case::{BOUND, Case, Ctx};
use crate::process::{self, Running};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "notify-socket/run-detached-ends-when-the-container-is-ready",
        source: "runc run --detach, NOTIFY_SOCKET; sd_notify(3)",
        needs: &[],
        run: detached,
    },
    Case {
        name: "notify-socket/start-ends-when-the-container-is-ready",
        source: "runc create, start, NOTIFY_SOCKET; podman --sdnotify=container",
        needs: &[],
        run: started,
    },
    Case {
        name: "notify-socket/run-in-the-foreground-passes-ready-on",
        source: "runc run, NOTIFY_SOCKET: the main process is the runtime",
        needs: &[],
        run: foreground,
    },
    Case {
        name: "notify-socket/a-container-that-ends-unready-holds-nobody-up",
        source: "sd_notify(3): the service has failed; runc, whose child it is, takes a zombie for alive and hangs",
        needs: &[],
        run: unready,
    },
    Case {
        name: "notify-socket/the-container-is-not-shown-the-managers-socket",
        source: "runc: /run/notify/notify.sock in the container, and nothing without the variable",
        needs: &[],
        run: own_socket,
    },
];

/// A service manager's socket, by an abstract name: systemd has had both kinds.
struct Manager {
    socket: UnixDatagram,
    address: String,
}

impl Manager {
    fn start(ctx: &Ctx) -> Result<Self> {
        use std::os::linux::net::SocketAddrExt;
        let name = ctx.id("manager");
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name)?;
        Ok(Self { socket: UnixDatagram::bind_addr(&address)?, address: format!("@{name}") })
    }

    fn command(&self, ctx: &Ctx, words: &[&str]) -> Command {
        let mut command = ctx.runtime();
        command.args(words).env("NOTIFY_SOCKET", &self.address);
        command
    }

    fn start_runtime(&self, ctx: &Ctx, words: &[&str]) -> Result<Running> {
        process::start(&mut self.command(ctx, words), Stdio::null())
    }

    /// The next message, without its last line's end. What comes along, a barrier's pipe, is closed unseen.
    fn hears(&self) -> Result<String> {
        ensure!(process::readable(self.socket.as_fd(), BOUND)?, "nothing is said to the manager");
        let mut message = [0; 4096];
        let count = self.socket.recv(&mut message)?;
        let text = String::from_utf8_lossy(message.get(..count).unwrap_or_default());
        Ok(text.trim_end().to_owned())
    }

    fn hears_of(&self, main: u32) -> Result<()> {
        let told = (self.hears()?, self.hears()?);
        let expected = ("READY=1".to_owned(), format!("MAINPID={main}"));
        ensure!(told == expected, "{told:?} instead of {expected:?}");
        Ok(())
    }

    /// All that is said until a runtime has ended.
    fn hears_until_the_end_of(&self, running: &mut Running) -> Result<Vec<String>> {
        let mut said = Vec::new();
        process::until("the runtime has ended", BOUND, || {
            let has_ended = running.ends_within(Duration::ZERO)?.is_some();
            while process::readable(self.socket.as_fd(), Duration::ZERO)? {
                said.push(self.hears()?);
            }
            Ok(has_ended)
        })?;
        Ok(said)
    }
}

const BRIEF: Duration = Duration::from_millis(500);

/// Says what does not count, waits to be let on, and says that it is ready.
fn bundle(ctx: &Ctx) -> Result<Bundle> {
    ctx.bundle(&[
        "notify",
        "STATUS=not yet",
        ",",
        "write",
        "/ready",
        "",
        ",",
        "stdin",
        ",",
        "notify",
        "READY=1",
        ",",
        "wait",
    ])
}

/// One that is ready at once.
fn ready(ctx: &Ctx) -> Result<Bundle> {
    ctx.bundle(&["notify", "STATUS=not yet", ",", "notify", "READY=1", ",", "wait"])
}

fn detached(ctx: &Ctx) -> Result<()> {
    let manager = Manager::start(ctx)?;
    let (bundle, id) = (bundle(ctx)?, ctx.id("c"));
    // The container reads its standard input to the end, which comes when we close ours.
    let (input, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let mut command = manager.command(ctx, &["run", "--detach", "--bundle", bundle.path()?, &id]);
    let mut running = process::start(&mut command, Stdio::from(input))?;
    drop(command);
    process::until("the program has started", BOUND, || Ok(bundle.root().join("ready").exists()))?;
    ensure!(running.ends_within(BRIEF)?.is_none(), "it has ended before the container is ready");
    // Nobody is kept out meanwhile.
    let init = ctx.pid(&id)?;
    drop(ours);
    let said = manager.hears_until_the_end_of(&mut running)?;
    ensure!(said == ["READY=1", &format!("MAINPID={init}"), "BARRIER=1"], "{said:?} was said of {init}");
    running.end(BOUND)?.success()?;
    ctx.rt(&["delete", "--force", &id])?.success().map(drop)
}

fn started(ctx: &Ctx) -> Result<()> {
    let manager = Manager::start(ctx)?;
    let (bundle, id) = (ready(ctx)?, ctx.id("c"));
    let create = &mut manager.command(ctx, &["create", "--bundle", bundle.path()?, &id]);
    process::run(create, BOUND)?.success()?;
    let mut running = manager.start_runtime(ctx, &["start", &id])?;
    let (said, init) = (manager.hears_until_the_end_of(&mut running)?, ctx.pid(&id)?);
    ensure!(said == ["READY=1", &format!("MAINPID={init}"), "BARRIER=1"], "{said:?} was said of {init}");
    running.end(BOUND)?.success()?;
    ctx.rt(&["delete", "--force", &id])?.success().map(drop)
}

fn foreground(ctx: &Ctx) -> Result<()> {
    let manager = Manager::start(ctx)?;
    let (bundle, id) = (ready(ctx)?, ctx.id("c"));
    let mut running = manager.start_runtime(ctx, &["run", "--bundle", bundle.path()?, &id])?;
    manager.hears_of(running.pid())?;
    // Its signals get through as ever.
    process::until("the runtime ends", BOUND, || {
        // One that has asked whether it was heard goes on then.
        while process::readable(manager.socket.as_fd(), Duration::ZERO)? {
            manager.hears()?;
        }
        let has_ended = running.ends_within(Duration::ZERO)?.is_some();
        if !has_ended {
            running.signal(Signal::SIGTERM)?;
        }
        Ok(has_ended)
    })
}

fn unready(ctx: &Ctx) -> Result<()> {
    let manager = Manager::start(ctx)?;
    let bundle = ctx.bundle(&["notify", "STOPPING=1", ",", "exit", "3"])?;
    let words = ["run", "--detach", "--bundle", bundle.path()?, &ctx.id("c")];
    manager.start_runtime(ctx, &words)?.end(BOUND)?.success()?;
    ensure!(!process::readable(manager.socket.as_fd(), Duration::ZERO)?, "the manager was told something");
    Ok(())
}

fn own_socket(ctx: &Ctx) -> Result<()> {
    let manager = Manager::start(ctx)?;
    let bundle = ctx.bundle(&[
        "env",
        ",",
        "list",
        "/run/notify",
        ",",
        "touch",
        "/run/notify/x",
        ",",
        "notify",
        "READY=1",
    ])?;
    bundle.edit(|config| config["process"]["env"] = serde_json::json!(["NOTIFY_SOCKET=/nobody"]))?;
    let mut running =
        manager.start_runtime(ctx, &["run", "--detach", "--bundle", bundle.path()?, &ctx.id("a")])?;
    manager.hears_until_the_end_of(&mut running)?;
    let ended = running.end(BOUND)?.success()?;
    ensure!(ended.out.contains("NOTIFY_SOCKET=/run/notify/notify.sock"), "{}", ended.out);
    ensure!(!ended.out.contains(&manager.address), "the manager's address: {}", ended.out);
    ensure!(
        ended.out.contains("notify.sock\ntouch /run/notify/x: EROFS\nnotify READY=1: ok\n"),
        "{}",
        ended.out
    );
    let bundle = ctx.bundle_named("without", &["list", "/run"])?;
    let mut command = ctx.runtime();
    command.env_remove("NOTIFY_SOCKET").args(["run", "--bundle", bundle.path()?, &ctx.id("b")]);
    process::run(&mut command, BOUND)?.success()?.out("list /run: ENOENT\n").map(drop)
}
