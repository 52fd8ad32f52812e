//! What a builder that is killed leaves of a secret: nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::place::Place;
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process;

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/secret-on-no-disk",
    source: "issue 2: a secret is in memory only, and in no layer, key or log",
    needs: &[Need::UserNamespaces],
    run: on_no_disk,
}];

const SECRET: &str = "a-secret-of-27-letters-here";
const DOCKERFILE: &str = r#"FROM scratch
COPY probe /probe
RUN --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=s \
    ["/probe", "stat", "/run/secrets/s", ",", "copy", "/run/secrets/s", "/dev/shm/s", ",", "print", "begun", ",", "stop"]
"#;

fn on_no_disk(ctx: &Ctx) -> Result<()> {
    let place = Place::new(ctx, "home", "http://127.0.0.1:1")?;
    let context = place.context("context", &[("Dockerfile", DOCKERFILE)])?;
    let words =
        ["build", "--progress", "plain", "--network", "none", "--secret", "id=s,env=SECRET", &context];
    let mut running =
        process::start(place.builder(&words).env("SECRET", SECRET), std::process::Stdio::null())?;
    process::until("the step has the secret", Duration::from_secs(60), || {
        ensure!(
            running.ends_within(Duration::ZERO)?.is_none(),
            "the build ended: {}",
            running.errors_so_far()?
        );
        Ok(running.errors_so_far()?.lines().any(|line| line.ends_with("begun")))
    })?;
    let said = running.errors_so_far()?;
    ensure!(said.contains("stat /run/secrets/s: file 0400 0:0 27"), "the step has no secret: {said}");
    let found = holders(&place.store)?;
    ensure!(found.is_empty(), "the secret is in {}", found.join(", "));
    running.signal(Signal::SIGKILL)?;
    running.ends_within(Duration::from_secs(20))?.context("the build did not end of SIGKILL")?;
    // The builder's mounts went with it: what they showed is nowhere else.
    let found = holders(&place.store)?;
    ensure!(found.is_empty(), "the secret is left in {}", found.join(", "));
    Ok(())
}

/// The files on the disk of `directory` that have the secret in them.
fn holders(directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        // The overlay's own, of mode 0 and empty.
        Err(error)
            if error.kind() == std::io::ErrorKind::PermissionDenied && directory.ends_with("work/work") =>
        {
            return Ok(found);
        }
        // What the builder removes meanwhile has not stayed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.with_context(|| format!("read {}", directory.display()))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = std::fs::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            found.extend(holders(&path)?);
        } else if kind.is_file() && contains(&std::fs::read(&path).unwrap_or_default()) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}
