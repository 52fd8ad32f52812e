//! A shim without containerd: started from a bundle as containerd starts it, and spoken to on its socket, for what ctr cannot ask.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::containerd::PATIENCE;
use super::engine::shims;
use super::ttrpc::{Client, Message};
use crate::bundle::Bundle;
use crate::case::Ctx;
use crate::needs::Need;
use crate::process;

pub(super) const NEEDS: &[Need] = &[Need::Root];

/// A shim and the container that it is for.
pub(super) struct Lone<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) bundle: Bundle,
    pub(super) id: String,
    pub(super) client: Client,
    address: String,
}

impl<'a> Lone<'a> {
    /// One for a container whose program does `deeds`.
    pub(super) fn start(ctx: &'a Ctx, deeds: &[&str]) -> Result<Self> {
        let bundle = ctx.bundle(deeds)?;
        Self::start_by(ctx, bundle, Command::new(shim(ctx)))
    }

    /// One that `command`, whose last word is the shim, starts for `bundle`.
    pub(super) fn start_by(ctx: &'a Ctx, bundle: Bundle, mut command: Command) -> Result<Self> {
        let id = ctx.id("c");
        command.args(["-namespace", "default", "-id", &id, "-address", "/nowhere", "start"]);
        let started = process::run(command.current_dir(bundle.dir()), PATIENCE)?.success()?;
        let address = started.out;
        let client = Client::connect(&address)?;
        Ok(Self { ctx, bundle, id, client, address })
    }

    /// Another connection.
    pub(super) fn connect(&self) -> Result<Client> {
        Client::connect(&self.address)
    }

    /// A request about the container.
    pub(super) fn init(&self) -> Message {
        Message::default().with(1, &self.id)
    }

    /// A request about one of its other processes.
    pub(super) fn process(&self, exec: &str) -> Message {
        self.init().with(2, exec)
    }

    /// Create: the fields beyond the id, the bundle and the options are for the caller.
    pub(super) fn creation(&self) -> Result<Message> {
        self.creation_by(&self.ctx.binaries.join("runtime"))
    }

    /// The same by another runtime.
    pub(super) fn creation_by(&self, runtime: &Path) -> Result<Message> {
        let root = self.ctx.path("roots").display().to_string();
        let options = Message::default().with(6, runtime.display().to_string()).with(7, root);
        let options = Message::any("containerd.runc.v1.Options", "").with(2, options);
        Ok(self.init().with(2, self.bundle.path()?).with(10, options))
    }

    /// Creates the container and starts it.
    pub(super) fn run(&mut self, creation: &Message) -> Result<()> {
        self.client.call("Create", creation)?;
        let init = self.init();
        self.client.call("Start", &init)?;
        Ok(())
    }

    /// Exec: `deeds` for a process, `more` for the request's other fields.
    pub(super) fn add(
        &mut self,
        exec: &str,
        deeds: &[&str],
        more: impl FnOnce(Message) -> Message,
    ) -> Result<()> {
        let request = more(self.process(exec)).with(7, spec(&of(deeds)));
        self.client.call("Exec", &request)?;
        Ok(())
    }

    /// A fifo that nobody has open.
    pub(super) fn fifo(&self, name: &str) -> Result<PathBuf> {
        let path = self.ctx.path(name);
        mkfifo(&path, Mode::from_bits_truncate(0o600))?;
        Ok(path)
    }

    /// Kills the container if it still runs, deletes it, and waits for the shim's end.
    pub(super) fn end(mut self) -> Result<()> {
        let init = self.init();
        // One that has ended cannot be killed.
        let _killed = self.client.call("Kill", &init.clone().count(3, 9));
        self.client.call("Wait", &init)?;
        self.client.call("Delete", &init)?;
        self.stop()
    }

    /// Waits for the end of a shim without a container.
    pub(super) fn stop(mut self) -> Result<()> {
        // Now: there is nobody to whom the last events could be told.
        let now = self.init().set(2);
        self.client.call("Shutdown", &now)?;
        process::until("the shim has ended", PATIENCE, || Ok(shims() == 0))
    }
}

pub(super) fn shim(ctx: &Ctx) -> PathBuf {
    ctx.binaries.join("containerd-shim-coracle-v2")
}

/// A process of the runtime specification.
pub(super) fn of(deeds: &[&str]) -> Value {
    let args: Vec<&str> = std::iter::once("/probe").chain(deeds.iter().copied()).collect();
    json!({"args": args, "cwd": "/", "env": ["PATH=/"], "user": {"uid": 0, "gid": 0}})
}

pub(super) fn spec(process: &Value) -> Message {
    Message::any("types.containerd.io/opencontainers/runtime-spec/1/Process", &process.to_string())
}

/// The text of the error that a call was refused with.
pub(super) fn refusal(result: Result<Vec<u8>>) -> Result<String> {
    let error = result.err().context("it was not refused")?;
    Ok(format!("{error:#}"))
}

/// An error unless the text says `part`.
pub(super) fn says(text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{text:?} does not say {part:?}");
    Ok(())
}
