//! `cargo demo` after its build: the main job on an embedded Dockerfile, with what the host has and with less.

use std::process::Command;

use anyhow::{Result, ensure};

use super::place::PATIENCE;
use crate::case::{Case, Ctx};
use crate::needs::Need;
use crate::process::{self, Ended};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "chain/demo",
        source: "issue 2: cargo demo, as root and as an ordinary user",
        needs: &[Need::UserNamespaces],
        run: whole,
    },
    Case {
        name: "chain/demo-with-a-single-id",
        source: "issue 2: without newuidmap it says so and maps a single id",
        needs: &[Need::OrdinaryUser, Need::UserNamespaces],
        run: single_id,
    },
];

/// What the container prints at the end of its build.
const BOAT: &str = "a coracle that one person can carry:\nwoven willow\ntarred cloth\nbuilt by one person\n";

fn demo(ctx: &Ctx, path: Option<&str>) -> Result<Ended> {
    let mut command = Command::new(ctx.binaries.join("conformance"));
    command.args(["demo", "--prebuilt"]).arg(&ctx.binaries).env("HOME", ctx.path(""));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    process::run(&mut command, PATIENCE)?.success()
}

fn whole(ctx: &Ctx) -> Result<()> {
    shows(&demo(ctx, None)?, BOAT)
}

fn single_id(ctx: &Ctx) -> Result<()> {
    let nothing = ctx.path("empty");
    std::fs::create_dir(&nothing)?;
    let ended = demo(ctx, Some(&nothing.to_string_lossy()))?;
    shows(&ended, "a single id is mapped, so every file belongs to you")?;
    shows(&ended, BOAT)?;
    shows(&ended, "\nnot shown: a published port: ")
}

/// The words, and that it went on to its end.
fn shows(ended: &Ended, words: &str) -> Result<()> {
    let whole = ended.out.contains(words) && ended.out.contains("\ndone: built and run by ");
    ensure!(whole, "{}", ended.unexpected(&format!("no {words:?}")));
    Ok(())
}
