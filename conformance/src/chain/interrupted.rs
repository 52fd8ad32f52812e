//! An interrupted build leaves no process, mount or half-written blob, and the next build works.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::hello::with_hello;
use super::place::Place;
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::{process, worker};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/build-stopped-by-sigint",
        source: "issue 2: an interrupted build",
        needs: &[Need::UserNamespaces],
        run: |ctx| in_a_step(ctx, Signal::SIGINT),
    },
    Case {
        name: "chain/build-stopped-by-sigterm",
        source: "issue 2: an interrupted build",
        needs: &[Need::UserNamespaces],
        run: |ctx| in_a_step(ctx, Signal::SIGTERM),
    },
    Case {
        name: "chain/build-stopped-while-it-waits",
        source: "issue 5: the first signal cuts downloads, git and pushes short",
        needs: &[Need::UserNamespaces, Need::Program("git")],
        run: waiting,
    },
    Case {
        name: "chain/build-killed-in-a-step",
        source: "issue 2: kill -9",
        needs: &[Need::UserNamespaces],
        run: |ctx| in_a_step(ctx, Signal::SIGKILL),
    },
    Case {
        name: "chain/build-killed-anywhere",
        source: "issue 2: kill -9 at any moment of pull, unpack, copy, run and commit",
        needs: &[Need::UserNamespaces],
        run: anywhere,
    },
];

/// Builds that wait for somebody who never answers: what the Dockerfile takes, and what the command line asks for.
fn waiting(ctx: &Ctx) -> Result<()> {
    let address = "127.0.0.1:PORT";
    for (name, dockerfile, flags) in [
        ("download", format!("FROM scratch\nADD http://{address}/file /\n"), vec![]),
        ("git", format!("FROM scratch\nADD http://{address}/repository.git /\n"), vec![]),
        (
            "push",
            "FROM scratch\nCOPY probe /probe\n".to_owned(),
            vec!["--push".to_owned(), "-t".to_owned(), format!("{address}/image:1")],
        ),
        // In one process, which has no namespaces.
        (
            "push-of-what-is-kept",
            "FROM scratch\nCOPY probe /probe\n".to_owned(),
            vec!["--push".to_owned(), "-t".to_owned(), format!("{address}/image:1")],
        ),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port().to_string();
        let place = Place::new(ctx, name, "http://127.0.0.1:1")?;
        let context = place.context("context", &[("Dockerfile", &dockerfile.replace("PORT", &port))])?;
        if name == "push-of-what-is-kept" {
            place.run(&[&BUILD[..5], &[&context]].concat())?.success()?;
        }
        let flags: Vec<String> = flags.iter().map(|flag| flag.replace("PORT", &port)).collect();
        let mut words = BUILD[..5].to_vec();
        words.extend(flags.iter().map(String::as_str));
        words.push(&context);
        let mut running = place.start(&words)?;
        ensure!(
            process::readable(std::os::fd::AsFd::as_fd(&listener), Duration::from_secs(60))?,
            "{name}: nobody asks: {}",
            running.errors_so_far()?
        );
        let (connection, _) = listener.accept()?;
        running.signal(Signal::SIGINT)?;
        let code = running.ends_within(STOPPING)?.with_context(|| format!("{name}: it goes on"))?;
        let said = running.errors_so_far()?;
        ensure!(code == 1, "{name}: it ended with {code}: {said}");
        ensure!(said.ends_with("builder: the build was interrupted\n"), "{name}: it says {said:?}");
        drop(connection);
        nothing_left(ctx, &place).with_context(|| name.to_owned())?;
        place.verify_blobs()?;
    }
    Ok(())
}

const STOPPING: Duration = Duration::from_secs(20);
const BUILD: [&str; 6] = ["build", "--progress", "plain", "--network", "none", "-t"];

fn build(place: &Place, context: &str) -> Result<process::Ended> {
    place.run(&[&BUILD[..], &["whole", context]].concat())
}

fn in_a_step(ctx: &Ctx, signal: Signal) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let text = "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\", \"spawn\", \"2\", \",\", \"print\", \"begun\", \",\", \"stop\"]\n";
    let context = place.context("context", &[("Dockerfile", text)])?;
    let mut running = place.start(&[&BUILD[..], &["never", &context]].concat())?;
    process::until("the step runs", Duration::from_secs(60), || {
        ensure!(
            running.ends_within(Duration::ZERO)?.is_none(),
            "the build ended: {}",
            running.errors_so_far()?
        );
        Ok(format!("{}{}", running.so_far()?, running.errors_so_far()?).lines().any(|l| l.ends_with("begun")))
    })?;
    running.signal(signal)?;
    let code = running.ends_within(STOPPING)?.context("the build did not stop")?;
    ensure!(code != 0, "an interrupted build ended with 0");
    nothing_left(ctx, &place)?;
    let images = place.run(&["images"])?.success()?.out;
    ensure!(!images.contains("never"), "the image exists: {images}");
    let good = text.replace("\"stop\"", "\"exit\", \"0\"").replace("\"spawn\", \"2\", \",\",", "");
    let context = place.context("context", &[("Dockerfile", &good)])?;
    build(&place, &context)?.success()?;
    place.verify_blobs()
}

fn anywhere(ctx: &Ctx) -> Result<()> {
    let (_registry, place) = with_hello(ctx)?;
    let text = "FROM hello-world\nCOPY big /big\nRUN [\"/probe\", \"copy\", \"/big\", \"/copy\"]\nRUN [\"/probe\", \"unlink\", \"/big\"]\n";
    let big = "0123456789abcdef".repeat(200_000);
    let context = place.context("context", &[("Dockerfile", text), ("big", &big)])?;
    for milliseconds in [5, 20, 40, 70, 110, 160, 230, 330, 470, 700] {
        let mut running = place.start(&[&BUILD[..], &["whole", &context]].concat())?;
        let ended = running.ends_within(Duration::from_millis(milliseconds))?;
        if ended.is_none() {
            running.signal(Signal::SIGKILL)?;
            running.ends_within(STOPPING)?.context("the build did not end of SIGKILL")?;
        }
        nothing_left(ctx, &place).with_context(|| format!("after kill -9 at {milliseconds} ms"))?;
        place.verify_blobs().with_context(|| format!("after kill -9 at {milliseconds} ms"))?;
    }
    build(&place, &context)?.success()?;
    place
        .run(&["run", "--rm", "--network", "none", "whole", "/probe", "stat", "/copy"])?
        .success()?
        .out("stat /copy: file 0644 0:0 3200000\n")?;
    place.verify_blobs()
}

/// Everything that the builder started must end by itself, soon, and no mount may be left.
fn nothing_left(ctx: &Ctx, place: &Place) -> Result<()> {
    let of_ours = || -> Vec<String> {
        let store = place.store.to_string_lossy().into_owned();
        let dir = ctx.dir.to_string_lossy().into_owned();
        worker::described_descendants()
            .into_iter()
            .filter(|p| !p.contains("registry"))
            .filter(|p| {
                p.contains(&store) || p.contains(&dir) || p.contains("probe") || p.contains("runtime")
            })
            .collect()
    };
    let ended = process::until("every process has ended", STOPPING, || Ok(of_ours().is_empty()));
    ensure!(ended.is_ok(), "processes are left: {}", of_ours().join(", "));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let left = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .find(|at| Path::new(at).starts_with(&ctx.dir));
    ensure!(left.is_none(), "a mount is left: {left:?}");
    Ok(())
}
