//! Bad input: a clear error, a code that is not 0, and the store as before.

use anyhow::{Result, ensure};
use serde_json::json;

use super::hello::with_hello;
use super::place::Place;
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/config-error-names-the-place",
        source: "issue 2: JSON pointer, line and column",
        needs: &[],
        run: config,
    },
    Case {
        name: "chain/dockerfile-error-shows-the-place",
        source: "issue 2: a caret, the line, a suggestion",
        needs: &[],
        run: dockerfile,
    },
    Case {
        name: "chain/missing-base",
        source: "issue 2: a missing base",
        needs: &[Need::UserNamespaces],
        run: missing_base,
    },
    Case {
        name: "chain/unreachable-registry",
        source: "issue 2: an unreachable registry",
        needs: &[Need::UserNamespaces],
        run: unreachable,
    },
    Case {
        name: "chain/failing-run-shows-everything",
        source: "issue 2: its exit code, its whole output, nothing clipped",
        needs: &[Need::UserNamespaces],
        run: failing_run,
    },
];

fn config(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    bundle.set("/process/user/uid", json!("zero"))?;
    let text = std::fs::read_to_string(bundle.dir().join("config.json"))?;
    let line = text.lines().position(|l| l.contains("\"zero\"")).unwrap_or_default() + 1;
    let ended = ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("/process/user/uid")?;
    ended.says(&format!("line {line}"))?.says("column")?;
    Ok(())
}

fn dockerfile(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let context = place.context("context", &[("Dockerfile", "FROM scratch\nCOPPY probe /probe\n")])?;
    let ended = place.run(&["build", "-t", "x", &context])?.failure()?;
    ended.says("COPPY probe /probe")?.says("^")?.says("COPY")?.says("2")?;
    Ok(())
}

fn missing_base(ctx: &Ctx) -> Result<()> {
    let (_registry, place) = with_hello(ctx)?;
    place.run(&["pull", "hello-world"])?.success()?;
    let before = place.images()?;
    let context = place.context("context", &[("Dockerfile", "FROM no-such-image:1.0\n")])?;
    place.run(&["build", "-t", "x", &context])?.failure()?.says("no-such-image")?;
    ensure!(place.images()? == before, "the store changed");
    Ok(())
}

fn unreachable(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let context = place.context("context", &[("Dockerfile", "FROM hello-world\n")])?;
    place.run(&["build", "-t", "x", &context])?.failure()?.says("127.0.0.1:1")?;
    Ok(())
}

fn failing_run(ctx: &Ctx) -> Result<()> {
    const BYTES: usize = 3_000_000;
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let good = "FROM scratch\nCOPY probe /probe\nRUN --network=none [\"/probe\", \"mkdir\", \"/made\"]\n";
    let context = place.context("context", &[("Dockerfile", good)])?;
    place.run(&["build", "-t", "good", &context])?.success()?;
    let images = place.run(&["images"])?.success()?.out;
    let bad = format!(
        "{good}RUN --network=none [\"/probe\", \"flood\", \"{BYTES}\", \",\", \"print\", \"the end\", \",\", \"exit\", \"23\"]\n"
    );
    place.context("context", &[("Dockerfile", &bad)])?;
    let ended = place.run(&["build", "--progress", "plain", "-t", "bad", &context])?.failure()?;
    let output = format!("{}{}", ended.out, ended.err);
    let shown = output.lines().filter(|line| line.ends_with(&"x".repeat(99))).count();
    ensure!(shown >= BYTES / 100, "{shown} of {} lines are shown", BYTES / 100);
    ensure!(output.contains("the end"), "the last line is missing");
    ensure!(
        ended.err.contains("23"),
        "the exit code is not named: {}",
        ended.err.lines().last().unwrap_or_default()
    );
    ensure!(place.run(&["images"])?.success()?.out == images, "the list of images changed");
    place.verify_blobs()
}
