//! `conformance demo`: the main job on an embedded Dockerfile of several stages that needs nothing from outside.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::needs::{Host, Need};
use crate::{build, process};

/// Three stages on a root made of nothing but the project's own static probe.
const DOCKERFILE: &str = r#"FROM scratch AS base
COPY probe /bin/probe
ENV PATH=/bin

FROM base AS hull
RUN ["probe", "mkdir", "/out", ",", "write", "/out/hull", "woven willow\n"]

FROM base AS skin
WORKDIR /out
RUN ["probe", "write", "/out/skin", "tarred cloth\n"]

FROM base
WORKDIR /boat
COPY --from=hull /out/hull .
COPY --from=skin /out/skin .
COPY words.txt .
RUN ["probe", "cat", "hull", ",", "cat", "skin", ",", "append", "log", "built by one person"]
CMD ["probe", "cat", "words.txt", ",", "cat", "hull", ",", "cat", "skin", ",", "cat", "log"]
"#;

const WORDS: &str = "a coracle that one person can carry:\n";
const EXPECTED: &str =
    "a coracle that one person can carry:\nwoven willow\ntarred cloth\nbuilt by one person\n";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use the finished binaries in this folder (made by `stage`) instead of building.
    #[arg(long)]
    prebuilt: Option<PathBuf>,
}

/// Builds, runs, says what was done and where.
pub(crate) fn demo(args: &Args) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let host = Host::measure();
    let binaries = match &args.prebuilt {
        Some(dir) => dir.canonicalize().with_context(|| format!("find {}", dir.display()))?,
        None => {
            writeln!(out, "building the workspace")?;
            build::build()?
        }
    };
    writeln!(out, "on {}", host.describe())?;
    for line in shortcomings(&host) {
        writeln!(out, "note: {line}")?;
    }
    let work = tempfile::Builder::new().prefix("coracle-demo.").tempdir_in(crate::work_root())?;
    let context = work.path().join("context");
    std::fs::create_dir(&context)?;
    std::fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    std::fs::write(context.join("words.txt"), WORDS)?;
    std::fs::copy(binaries.join("probe"), context.join("probe"))?;
    writeln!(out, "\n{}:\n{DOCKERFILE}", context.join("Dockerfile").display())?;
    out.flush()?;

    let place = Place { binaries: &binaries, store: &work.path().join("store") };
    say(
        &mut out,
        &place,
        &["build", "--network", "none", "-t", "coracle_demo:1.0", &context.to_string_lossy()],
    )?;
    let status =
        place.builder(&["build", "--network", "none", "-t", "coracle_demo:1.0"]).arg(&context).status()?;
    ensure!(status.success(), "the build ended with {status}");
    let words = ["run", "--rm", "--network", "none", "coracle_demo:1.0"];
    say(&mut out, &place, &words)?;
    let ended = process::run(&mut place.builder(&words), Duration::from_secs(60))?;
    write!(out, "{}{}", ended.out, ended.err)?;
    ended.success()?.out(EXPECTED)?;
    finish(&mut out, &host, &place)?;
    Ok(ExitCode::SUCCESS)
}

struct Place<'a> {
    binaries: &'a Path,
    store: &'a Path,
}

impl Place<'_> {
    fn builder(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join("builder"));
        command
            .env("CORACLE_STORE", self.store)
            .env("CORACLE_RUNTIME", self.binaries.join("runtime"))
            .args(words);
        command
    }
}

fn say(out: &mut impl Write, place: &Place<'_>, words: &[&str]) -> Result<()> {
    writeln!(out, "$ CORACLE_STORE={} builder {}", place.store.display(), words.join(" "))?;
    Ok(out.flush()?)
}

/// The second half, where the host can: a server in a network namespace of its own, asked through a published port.
fn finish(out: &mut impl Write, host: &Host, place: &Place<'_>) -> Result<()> {
    let helper = ["pasta", "slirp4netns"].into_iter().any(|name| process::find(name).is_some());
    if let Some(reason) =
        host.lacks(Need::Tun).or((!helper).then(|| "neither pasta nor slirp4netns is installed".to_owned()))
    {
        writeln!(out, "\nnot shown: a published port: {reason}")?;
    } else {
        publish(out, place)?;
    }
    writeln!(
        out,
        "\ndone: built and run by {} over {}",
        place.binaries.join("builder").display(),
        place.binaries.join("runtime").display()
    )?;
    writeln!(out, "the image and its store were in {}; they are removed now", place.store.display())?;
    Ok(())
}

fn publish(out: &mut impl Write, place: &Place<'_>) -> Result<()> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let publish = format!("127.0.0.1:{port}:8080");
    let words =
        ["run", "--rm", "-p", &publish, "coracle_demo:1.0", "probe", "serve", "0.0.0.0:8080", "it floats\n"];
    say(out, place, &words)?;
    let running = process::start(&mut place.builder(&words), Stdio::null())?;
    let mut probe = Command::new(place.binaries.join("probe"));
    probe.args(["get", &format!("127.0.0.1:{port}"), "/"]);
    process::until("the container answers", Duration::from_secs(30), || {
        Ok(process::run(&mut probe, Duration::from_secs(30))?.out == "it floats\n")
    })?;
    writeln!(out, "http://127.0.0.1:{port}/ answers: it floats")?;
    running.signal(nix::sys::signal::Signal::SIGINT)?;
    running.end(Duration::from_secs(30)).context("stop the server")?;
    Ok(())
}

/// What is missing here, and what that means.
fn shortcomings(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    if host.root {
        return found;
    }
    if let Some(reason) = host.lacks(Need::UserNamespaces) {
        found.push(format!("{reason}: without them an ordinary user can start no container"));
    }
    if let Some(reason) = host.lacks(Need::SubordinateIds) {
        found.push(format!("{reason}: a single id is mapped, so every file belongs to you"));
    }
    found
}
