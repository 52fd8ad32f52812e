//! The Flask application of builder/examples/flask: built from its Dockerfile as it stands, run, and asked over HTTP.
//!
//! The base image is made of Debian's Python packages and pulled from a real registry; pip installs from an index that the test
//! serves on the host's outside address, which RUN reaches from its own network namespace through the network helper.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use super::index;
use super::place::{Place, answer, get};
use super::registry::Registry;
use crate::case::{Case, Ctx, not_run};
use crate::needs::Need;
use crate::{assets, build};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/flask",
    source: "issue 2: the two Flask commands, as root and as an ordinary user",
    needs: &[Need::UserNamespaces, Need::Tun],
    run: flask,
}];

const GREETING: &str = "Hello from Flask in a coracle\n";
const STOPPING: Duration = Duration::from_secs(30);

fn flask(ctx: &Ctx) -> Result<()> {
    let base = assets::get(&ctx.binaries, "python.tar")?;
    let _ports = ports_are_ours()?;
    let registry = Registry::start(ctx)?;
    registry.publish(ctx, &base, "library/python:3.10-rc-buster").context("publish the base image")?;
    let place = Place::new(ctx, "home", &registry.url())?;
    let context = context(ctx, &place)?;
    let built = place.run(&["build", "--progress", "plain", "-t", "flask_app:1.0", &context])?.success()?;
    ensure!(
        built.err.contains("python") || built.out.contains("python"),
        "no progress of the pull: {}",
        built.err
    );
    one(ctx, &place).context("run -p 5000:5000")?;
    two(ctx, &place).context("two containers at once")?;
    refusals(&place)?;
    place.run(&["run", "--rm", "flask_app:1.0", "sh", "-c", "exit 7"])?.code(7)?;
    let again = place.run(&["build", "--progress", "plain", "-t", "flask_app:1.0", &context])?.success()?;
    ensure!(format!("{}{}", again.out, again.err).contains("CACHED"), "nothing was cached: {}", again.err);
    place.verify_blobs()
}

/// The test uses fixed ports of this host: one such test at a time, and none where somebody else has them.
fn ports_are_ours() -> Result<Flock<File>> {
    let path = PathBuf::from("/var/tmp/.coracle-flask-ports");
    let file = File::options().read(true).open(&path).or_else(|_| File::create(&path))?;
    let lock =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("lock the ports")?;
    for port in 5000..5003 {
        if TcpListener::bind(("0.0.0.0", port)).is_err() {
            return Err(not_run(format!("port {port} of this host is in use")));
        }
    }
    Ok(lock)
}

/// The example's files, with a requirements.txt that points pip at the test's index.
fn context(ctx: &Ctx, place: &Place) -> Result<String> {
    let staged = ctx.binaries.join("examples/flask");
    let example = match build::sources() {
        _ if staged.is_dir() => staged,
        Some(top) => top.join("builder/examples/flask"),
        None => return Err(not_run("builder/examples/flask is absent")),
    };
    let index = index::serve(ctx)?;
    let requirements = format!("--index-url http://{index}/simple/\n--trusted-host {}\nflask\n", index.ip());
    let read = |name: &str| {
        std::fs::read_to_string(example.join(name)).with_context(|| format!("read the example's {name}"))
    };
    let (dockerfile, app) = (read("Dockerfile")?, read("app.py")?);
    ensure!(
        dockerfile.contains("RUN pip install -r requirements.txt"),
        "the Dockerfile is not the one of the issue"
    );
    place.context(
        "context",
        &[("Dockerfile", &dockerfile), ("app.py", &app), ("requirements.txt", &requirements)],
    )
}

fn one(ctx: &Ctx, place: &Place) -> Result<()> {
    let mut running = place.start(&["run", "-p", "5000:5000", "flask_app:1.0"])?;
    ensure!(answer(ctx, 5000, "/", &mut running)? == GREETING, "another greeting");
    let inside: serde_json::Value = serde_json::from_str(&answer(ctx, 5000, "/netns", &mut running)?)?;
    let host = std::fs::read_link("/proc/self/ns/net")?;
    ensure!(
        inside["netns"] != host.to_string_lossy().as_ref(),
        "the container is in the host's network namespace"
    );
    running.signal(Signal::SIGINT)?;
    running.end(STOPPING).context("stop on Ctrl-C")?;
    ensure!(get(ctx, 5000, "/")?.is_none(), "port 5000 still answers");
    Ok(())
}

fn two(ctx: &Ctx, place: &Place) -> Result<()> {
    let mut first = place.start(&["run", "--rm", "-p", "5001:5000", "flask_app:1.0"])?;
    let mut second = place.start(&["run", "--rm", "-p", "127.0.0.1:5002:5000", "flask_app:1.0"])?;
    ensure!(answer(ctx, 5001, "/", &mut first)? == GREETING, "another greeting on 5001");
    ensure!(answer(ctx, 5002, "/", &mut second)? == GREETING, "another greeting on 5002");
    let namespaces = (answer(ctx, 5001, "/netns", &mut first)?, answer(ctx, 5002, "/netns", &mut second)?);
    ensure!(namespaces.0 != namespaces.1, "both are in one network namespace: {}", namespaces.0);
    ensure!(get(ctx, 5000, "/")?.is_none(), "the host's own port 5000 answers");
    // The port of the first is taken now: an error, and before anything is started.
    let taken = place.run(&["run", "--rm", "-p", "5001:5000", "flask_app:1.0"])?.failure()?;
    taken.says("5001")?;
    for running in [first, second] {
        running.signal(Signal::SIGTERM)?;
        running.end(STOPPING).context("stop on SIGTERM")?;
    }
    Ok(())
}

fn refusals(place: &Place) -> Result<()> {
    place
        .run(&["run", "--rm", "--network", "host", "-p", "5000:5000", "flask_app:1.0"])?
        .failure()?
        .says("network")?;
    Ok(())
}
