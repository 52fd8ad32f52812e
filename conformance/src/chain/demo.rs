//! `cargo demo` after its build: the main job on an embedded Dockerfile, with what the host has.

use std::process::Command;

use anyhow::{Result, ensure};

use super::place::PATIENCE;
use crate::case::{Case, Ctx};
use crate::needs::{Host, Need};
use crate::process::{self, Ended};

pub(crate) const CASES: &[Case] = &[Case {
    name: "chain/demo",
    source: "issue 2: cargo demo, as root and as an ordinary user",
    needs: &[Need::UserNamespaces],
    run: whole,
}];

/// What the container prints at the end of its build.
const BOAT: &str = "a coracle that one person can carry:\nwoven willow\ntarred cloth\nbuilt by one person\n";

fn whole(ctx: &Ctx) -> Result<()> {
    let mut command = Command::new(ctx.binaries.join("conformance"));
    command.args(["demo", "--prebuilt"]).arg(&ctx.binaries).env("HOME", ctx.path(""));
    let ended = process::run(&mut command, PATIENCE)?.success()?;
    shows(&ended, BOAT)?;
    let host = Host::measure();
    if let (false, Some(reason)) = (host.root, host.lacks(Need::SubordinateIds)) {
        shows(&ended, &format!("note: {reason}: a single id is mapped, so every file belongs to you"))?;
    }
    Ok(())
}

/// The words, and that it went on to its end.
fn shows(ended: &Ended, words: &str) -> Result<()> {
    let whole = ended.out.contains(words) && ended.out.contains("\ndone: built and run by ");
    ensure!(whole, "{}", ended.unexpected(&format!("no {words:?}")));
    Ok(())
}
