//! What all engines have in common: an image to run, the shape of an answer, the look from inside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::case::{Ctx, not_run};
use crate::image;
use crate::process::{self, Ended};

/// The bound of one command; an emulated guest takes seconds for what takes milliseconds here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The name of the image in every engine: nothing but the probe.
pub(crate) const IMAGE: &str = "localhost/probe:latest";

/// An engine's command line: cases are written against this alone.
pub(crate) trait Cli {
    /// `ENGINE WORDS...`.
    fn command(&self, words: &[&str]) -> Result<Command>;

    /// Runs it to its end.
    fn call(&self, words: &[&str]) -> Result<Ended> {
        process::run(&mut self.command(words)?, PATIENCE)
    }

    /// Runs it to its end, which is a success; gives its output without the last line feed.
    fn text(&self, words: &[&str]) -> Result<String> {
        Ok(self.call(words)?.success()?.out.trim_end().to_owned())
    }

    /// What the probe sees in `ENGINE WORDS... IMAGE /probe show`.
    fn show(&self, words: &[&str]) -> Result<Value> {
        let text = self.text(&[words, &[IMAGE, "/probe", "show"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("read what the probe showed: {text:?}"))
    }

    /// `script` around `ENGINE WORDS...`: its terminal has no input until the input of `script` ends.
    fn terminal(&self, words: &[&str]) -> Result<Command> {
        let inner = self.command(words)?;
        let line: Vec<String> = std::iter::once(inner.get_program())
            .chain(inner.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let script = process::find("script").context("find script (bsdutils)")?;
        let mut command = Command::new(script);
        command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        Ok(command)
    }

    /// Runs `ENGINE WORDS...` on a terminal.
    fn on_a_terminal(&self, words: &[&str]) -> Result<Ended> {
        process::run(&mut self.terminal(words)?, PATIENCE)
    }

    /// What the probe sees in `ENGINE WORDS... /probe show` on a terminal. The probe stays until that has arrived here, and ends
    /// with its input then: engines lose what a program writes just before its end.
    fn show_on_a_terminal(&self, words: &[&str]) -> Result<Value> {
        let mut command = self.terminal(&[words, &["/probe", "show", ",", "stdin"]].concat())?;
        let (input, hold) = std::io::pipe()?;
        let mut running = process::start(&mut command, input.into())?;
        let mut seen = None;
        let arrives = process::until("the probe's answer arrives", PATIENCE, || {
            let text = running.so_far()?;
            let object = text.find('{').zip(text.rfind('}')).and_then(|(from, to)| text.get(from..=to));
            seen = object.and_then(|object| serde_json::from_str(object).ok());
            Ok(seen.is_some() || running.ends_within(Duration::ZERO)?.is_some())
        });
        drop(hold);
        let ended = running.end(PATIENCE)?.success()?;
        arrives?;
        seen.with_context(|| ended.unexpected("no answer of the probe"))
    }

    /// Waits until `ENGINE WORDS...` prints something that contains `part`.
    fn until(&self, words: &[&str], part: &str) -> Result<()> {
        let mut last = String::new();
        process::until(&format!("{words:?} says {part:?}"), PATIENCE, || {
            let ended = self.call(words)?;
            last = format!("{}{}", ended.out, ended.err);
            Ok(last.contains(part))
        })
        .with_context(|| format!("it said {last:?}"))
    }
}

/// The tar of the image's only layer.
pub(super) fn root_tar(ctx: &Ctx) -> Result<String> {
    let to = ctx.path("root.tar");
    image::root_of_probe(&to, &ctx.binaries.join("probe"))?;
    Ok(to.to_string_lossy().into_owned())
}

/// The body of `http://ADDRESS/`, asked until there is an answer.
pub(super) fn get(ctx: &Ctx, address: &str) -> Result<String> {
    let mut body = String::new();
    process::until(&format!("{address} answers"), PATIENCE, || {
        let mut command = Command::new(ctx.binaries.join("probe"));
        body = process::run(command.args(["get", address, "/"]), PATIENCE)?.out;
        Ok(!body.is_empty() && !body.starts_with("get "))
    })?;
    Ok(body)
}

/// A port of this host that nobody listens on now.
pub(super) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The namespace of that kind which the programs that are started here get.
pub(super) fn own_namespace(kind: &str) -> Result<String> {
    let link = std::fs::read_link(Path::new("/proc/thread-self/ns").join(kind))?;
    Ok(link.to_string_lossy().into_owned())
}

/// Fails unless `seen` at the JSON pointer is `expected`.
pub(crate) fn expect(seen: &Value, pointer: &str, expected: impl Into<Value>) -> Result<()> {
    let (found, expected) = (seen.pointer(pointer).unwrap_or(&Value::Null), expected.into());
    ensure!(*found == expected, "{pointer} is {found} instead of {expected}");
    Ok(())
}

/// The runtime's limit of memory as the container sees it, v2 or v1.
pub(crate) const MEMORY_FILES: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// The same for the number of processes.
pub(super) const PIDS_FILES: [&str; 2] = ["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"];

/// Of the two files of a limit the one that this host has.
pub(crate) fn here(ctx: &Ctx, files: [&'static str; 2]) -> &'static str {
    let [v2, v1] = files;
    if ctx.host.pure_v2 { v2 } else { v1 }
}

/// A directory of the case's that the engine's user may use.
pub(super) fn folder(ctx: &Ctx, name: &str) -> Result<PathBuf> {
    let dir = ctx.path(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A static init that engines put before a program.
pub(super) fn init() -> Result<String> {
    let found = ["catatonit", "docker-init", "tini-static"].into_iter().find_map(process::find);
    let found = found.ok_or_else(|| not_run("neither catatonit nor docker-init is installed"))?;
    Ok(found.to_string_lossy().into_owned())
}
